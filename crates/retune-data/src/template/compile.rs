//! From a template's source to instructions with guards in them.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use minijinja::Value;
use minijinja::machinery::{CodeGenerator, Instruction, Instructions, Token, parse, tokenize};
use minijinja::syntax::SyntaxConfig;

use super::environment::syntax_error;
use super::guard::{Guard, LISTED};
use crate::error::{Error, Result};

const NAME: &str = "chat_template";
/// Templates of models have some tens of KiB at most.
const MAX_SOURCE: usize = 512 << 10;
/// The time that compiling an expression takes grows with the square of its length.
const MAX_TOKENS: usize = 2_000;
/// A variable that is 1.
pub(super) const ONE: &str = "__one";
/// A filter's or test's place in a cache, for those that are in none.
const NOT_CACHED: u8 = !0;

/// Filters and tests that look at their operands' surface only, or are our own.
const SHALLOW: &str = "count d default defined false first indent items iterable last length list \
                       mapping none number reverse sequence string tojson true undefined";

/// The instructions of a template.
///
/// # Errors
/// `TemplateSyntax` if it is not valid, or longer than any template is.
pub(super) fn compile(source: &str, syntax: &SyntaxConfig) -> Result<Instructions<'static>> {
    let source = kept(prepared(source, syntax)?);
    let parsed = parse(source, NAME, syntax.clone()).map_err(|error| syntax_error(&error))?;
    let mut generator = CodeGenerator::new(NAME, source);
    generator.compile_stmt(&parsed);
    let (plain, _) = generator.finish();
    guarded(plain).map_err(|(line, what)| Error::TemplateSyntax {
        line,
        problem: format!("{what} is not supported"),
    })
}

/// A source that lives as long as the program, as instructions borrow from it and
/// would have to be built for each rendering otherwise. A program opens few
/// templates, and the same one is kept once.
fn kept(source: String) -> &'static str {
    static ALL: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(kept) = all.get(source.as_str()) {
        return kept;
    }
    let kept: &'static str = source.leak();
    all.insert(kept);
    kept
}

/// The source as minijinja may compile it.
///
/// # Errors
/// `TemplateSyntax` if it is longer than any template is.
fn prepared(source: &str, syntax: &SyntaxConfig) -> Result<String> {
    let too_long = |line, problem| Err(Error::TemplateSyntax { line, problem });
    if source.len() > MAX_SOURCE {
        return too_long(0, format!("it is longer than {} KiB", MAX_SOURCE >> 10));
    }
    let source = without_generation_marks(source);
    let mut prepared = String::with_capacity(source.len());
    let mut done = 0;
    let mut tokens = 0;
    let mut is_prefix = true;
    // What is no token is found, and told, by the parser.
    for (token, span) in tokenize(&source, false, syntax.clone()).map_while(std::result::Result::ok)
    {
        tokens += 1;
        match token {
            Token::BlockStart | Token::VariableStart => tokens = 0,
            // minijinja computes what is constant when it compiles, where no steps
            // are counted, and a constant list can be repeated without end.
            Token::Mul if !is_prefix => {
                let end = span.end_offset as usize;
                prepared.push_str(&source[done..end]);
                prepared.extend([ONE, "*"]);
                done = end;
            }
            _ if tokens > MAX_TOKENS => {
                let problem = format!("an expression is longer than {MAX_TOKENS} words and signs");
                return too_long(usize::from(span.start_line), problem);
            }
            _ => {}
        }
        is_prefix = matches!(token, Token::ParenOpen | Token::Comma);
    }
    prepared.push_str(&source[done..]);
    Ok(prepared)
}

/// The instructions with a guard before each that looks into its operands.
///
/// # Errors
/// The line of what is not supported, and what that is.
fn guarded(
    mut plain: Instructions<'static>,
) -> std::result::Result<Instructions<'static>, (usize, &'static str)> {
    let mut joints = BTreeSet::new();
    for index in 0.. {
        let Some(instruction) = plain.get_mut(index) else {
            break;
        };
        joints.extend(target(instruction).copied());
    }
    let mut guarded = Instructions::new(plain.name(), plain.source());
    // Where each instruction, with its guard, has come to stand.
    let mut places = Vec::new();
    let mut next = 0;
    let mut constant = None;
    for (index, instruction) in (0..).map_while(|index| Some((index, plain.get(index)?))) {
        let line = plain.get_line(index).unwrap_or_default();
        let line_number = u16::try_from(line).unwrap_or(u16::MAX);
        let span = plain.get_span(index);
        places.push(next);
        let mut add = |instruction| {
            next = 1 + match span {
                Some(span) => guarded.add_with_span(instruction, span),
                None => guarded.add_with_line(instruction, line_number),
            };
        };
        let guard = guard_of(instruction).map_err(|what| (line, what))?;
        // Where ways join, the last operand may come from elsewhere.
        let last = constant.filter(|_| !joints.contains(&index));
        if let Some((guard, operands)) = guard
            && !last.is_some_and(|last| is_cheap(instruction, last))
        {
            let all = Some(operands);
            add(Instruction::ApplyFilter(guard.filter(), all, NOT_CACHED));
            add(Instruction::UnpackList(usize::from(operands)));
        }
        add(instruction.clone());
        if matches!(instruction, Instruction::Mul | Instruction::Slice) {
            add(Instruction::ApplyFilter(LISTED, Some(1), NOT_CACHED));
        }
        constant = match instruction {
            Instruction::LoadConst(value) => Some(value),
            _ => None,
        };
    }
    places.push(next);
    for index in 0..next {
        if let Some(target) = guarded.get_mut(index).and_then(target) {
            *target = places[*target as usize];
        }
    }
    Ok(guarded)
}

/// Whether an operator takes no time to speak of, as its last operand is a constant
/// of the source.
fn is_cheap(instruction: &Instruction, last: &Value) -> bool {
    let is_scalar = last.as_object().is_none();
    match instruction {
        Instruction::Eq
        | Instruction::Ne
        | Instruction::Lt
        | Instruction::Lte
        | Instruction::Gt
        | Instruction::Gte => true,
        // What is looked for in a text is written as one.
        Instruction::In => !is_scalar,
        Instruction::Add => is_scalar,
        // A character of a text is counted out, from the end with a negative number.
        Instruction::GetItem => {
            last.as_str().is_some() || last.as_usize().is_some_and(|index| index < 1000)
        }
        _ => false,
    }
}

/// Where an instruction may go on.
fn target<'a>(instruction: &'a mut Instruction<'_>) -> Option<&'a mut u32> {
    match instruction {
        Instruction::Jump(target)
        | Instruction::JumpIfFalse(target)
        | Instruction::JumpIfFalseOrPop(target)
        | Instruction::JumpIfTrueOrPop(target)
        | Instruction::Iterate(target)
        | Instruction::BuildMacro(_, target, _) => Some(target),
        _ => None,
    }
}

/// The guard before an instruction, and how many operands it looks at. `Err` if
/// none could be placed.
fn guard_of(instruction: &Instruction) -> std::result::Result<Option<(Guard, u16)>, &'static str> {
    let few = |count: usize| u16::try_from(count).map_err(|_| "a literal of that length");
    let guard = match instruction {
        Instruction::Eq
        | Instruction::Ne
        | Instruction::Lt
        | Instruction::Lte
        | Instruction::Gt
        | Instruction::Gte
        | Instruction::In
        | Instruction::CompareAndPreserve(_)
        | Instruction::StringConcat => (Guard::Walked, 2),
        // How many operands there are is known too late for a guard.
        Instruction::ApplyFilter(_, None, _) | Instruction::PerformTest(_, None, _) => {
            return Err("`*` before an argument of a filter or a test");
        }
        Instruction::ApplyFilter(name, Some(count), _)
        | Instruction::PerformTest(name, Some(count), _)
            if !SHALLOW.split_whitespace().any(|shallow| shallow == *name) =>
        {
            (Guard::Walked, *count)
        }
        // They are the loop's own methods, and no others have these names. The first
        // keeps its arguments and compares them, the second panics without one.
        Instruction::CallMethod("changed", _) => return Err("loop.changed"),
        Instruction::CallMethod("cycle", None | Some(..2)) => {
            return Err("loop.cycle without a list of arguments");
        }
        Instruction::UnpackLists(count) => (Guard::Walked, few(*count)?),
        Instruction::BuildMap(pairs) => (Guard::Walked, few(pairs * 2)?),
        Instruction::GetItem => (Guard::Indexed, 2),
        Instruction::Add | Instruction::Mul => (Guard::Counted, 2),
        Instruction::Slice => (Guard::Counted, 4),
        Instruction::PushLoop(_) | Instruction::FastRecurse | Instruction::UnpackList(_) => {
            (Guard::Counted, 1)
        }
        // It may be a loop that is called.
        Instruction::CallFunction(_, Some(count)) => (Guard::Counted, *count),
        Instruction::BuildList(Some(count)) | Instruction::BuildTuple(Some(count)) => {
            (Guard::Held, few(*count)?)
        }
        Instruction::SetAttr(_) => (Guard::Assigned, 2),
        _ => return Ok(None),
    };
    Ok(Some(guard).filter(|(_, operands)| *operands > 0))
}

/// `{% generation %}` marks what the assistant said, for masks; what is rendered
/// does not depend on it. Jinja knows no such tag, so it becomes an `if`.
fn without_generation_marks(source: &str) -> String {
    let mut plain = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        plain.push_str(before);
        let Some(len) = tag[2..].find("%}").map(|end| end + 4) else {
            rest = tag;
            break;
        };
        let (tag, behind) = tag.split_at(len);
        let word = tag[2..len - 2].trim_matches(|c: char| c.is_whitespace() || "+-".contains(c));
        match word {
            "generation" => plain.push_str(&tag.replacen("generation", "if true", 1)),
            "endgeneration" => plain.push_str(&tag.replacen("endgeneration", "endif", 1)),
            _ => plain.push_str(tag),
        }
        rest = behind;
    }
    plain.push_str(rest);
    plain
}
