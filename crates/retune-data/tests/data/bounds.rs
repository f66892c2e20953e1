//! What hostile templates may take of time and memory.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use retune_data::{ChatTemplate, Error};
use serde_json::Map;

/// Values of 2⁶⁰ parts, as lists and as dictionaries, twice each so that none is
/// the same object.
const SHARED: &str = "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(60) %}\
    {% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}\
    {% set a, b, c, d = ns.a, ns.b, dict(l=ns.a, r=ns.a), dict(l=ns.b, r=ns.b) %}";

/// Every operator, filter, test, function and method, on them: `a` and `b` are lists,
/// `c` and `d` dictionaries.
const ON_SHARED: &str = r"
    a   c   a ~ ''   '' ~ c   a == b   c == d   a != b   a < b   a >= b   c < d   a <= b <= a
    1 < a > b   a in [b]   c in [d]   a in 'x'   a not in [b, 1]   [a].count(b)   {a: 1}
    {c: 1}   {'x': 1}[a]   {'x': 1}[c]   {'x': 1}.get(a)   a[b]   a + b   a * 3   a[::-1]   -a
    a - b   a / 2   a % b   a ** 2   '%s' % a   not a   a and b   a if c else d   a.x   a.x()
    c.items()   c.keys()   c.values()   c.get('l')   ''.join(a)   '{}'.format(a)
    'x'.replace(a, 'y')   'x'.startswith(a)   'x'.startswith([a])   'x'.split(a)   'x'.strip(a)
    'x'.count(a)   'x'.find(a)   a|join   a|join(b)   [1, 2]|join(a)   c|join   [a, b]|unique
    [a, b]|sort   [a, b]|min   [a, b]|max   [a, b]|sum   [a, b]|sum(start=a)   a|map('string')
    a|map('join')   [a]|map('upper')   [a]|map('length')   [a]|select('eq', b)|list
    [a]|select('in', [b])|list   [a]|reject('==', b)|list
    [{'k': a}]|selectattr('k', 'eq', b)|list   [{'k': a}]|rejectattr('k', 'lt', b)|list
    [{'k': a}, {'k': b}]|groupby('k')   [{'k': a}, {'k': b}]|map(attribute='k')|sort
    {'x': a, 'y': b}|dictsort(by='value')   [{'k': a}, {'k': b}]|sort(attribute='k')   a|string
    a|list   a|tojson   c|tojson   c|tojson(sort_keys=true)   a|pprint   a|upper   a|lower
    a|title   a|capitalize   a|trim   'x'|trim(a)   a|replace('1', '2')   'x'|replace(a, 'y')
    'x'|replace('x', a)   '%s'|format(a)   '{}'|format(a)   a|e   a|escape   a|safe
    a|urlencode   a|indent   'x'|indent(a)   a|length   a|count   a|first   a|last   a|reverse
    a|items   c|items   a|batch(2)   [1]|batch(3, a)   a|slice(2)   a|chain(b)   a|zip(b)
    a|default(b)   a|d(b)   a|attr('x')   c|attr('l')   c|attr(a)   a|abs   a|int   a|float
    a|round   a|bool   a|split   'x'|split(a)   a|lines   a|wordcount   a is defined   a is eq b
    a is sameas b   a is lt(b)   a is in([b])   a is divisibleby(2)   a is startingwith('x')
    'x' is startingwith(a)   a is endingwith(a)   a is lower   a is upper   a is string
    a is mapping   a is sequence   a is iterable   a is true   a is filter   a is test
    range(a)   dict(a)   dict(c, x=a)   dict(x=a)   namespace(x=a)   namespace(c)
    raise_exception(a)   strftime_now(a)   a(b)   c.l(a)   a ~ b ~ c   a == b == a   a < b
    c|dictsort   a|sort(reverse=true)   [a]|min   {'x': a} == {'x': b}   (a, 1) == (b, 1)
    (a,) + (b,)   '' in a   a|map('replace', '1', b)|list   c|map(attribute='l')|list
    a|select('string')|list   a|join(attribute='x')   a|unique(attribute=0)|list
    loop.cycle(a, b) ~ ''   a|indent(width=a)   '%(x)s'|format(x=a)   '{x}'.format(x=a)
    raise_exception(c)   dict(**c) ~ ''   namespace(**c)
";

/// Values that are flat but long, and numbers beyond reason.
const LARGE: &str = r"
    'a' * 1000000000   ('a' * 100000000)   [1] * 1000000000000   ([1] * 100000000)|list
    ([1] * 100000000) == ([1] * 100000000)   ([1] * 100000000)|sum   ([1] * 100000000)|last
    ([1] * 100000000)|first   ([1] * 100000000)[::-1]|first   ([1] * 100000000)[99999999:]|first
    2 in [1] * 100000000   [[1] * 100000000] * 100000000 == [[1] * 100000000] * 100000000
    '' ~ [[1] * 10 ** 8] * 10 ** 8   [[1] * 10 ** 8] * 10 ** 8 < [[1] * 10 ** 8] * 10 ** 8
    ([[1] * 10 ** 8] * 10 ** 8)|tojson   (1,) * 100000000   [] * 10 ** 30   [1] * -1
    range(1000000000000)   range(0, 1000000000000, 7)
    range(-9223372036854775807, 9223372036854775807)
    range(9223372036854775807, -9223372036854775807, -1)
    range(9223372036854775807, 0, -9223372036854775807)   10 ** 10 ** 10   2 ** 100000000000
    (-2) ** 127   -(2 ** 127)   1e308 * 1e308   1 // 0   1 % 0   'x'|indent(1000000000)
    'x'|indent(-1)   [1]|batch(1000000000)   [1]|slice(1000000000)   [1]|batch(0)   [1]|slice(0)
    [1]|batch(3000000)|list|length   '%1000000000d'|format(1)   '%*d'|format(1000000000, 1)
    '%.1000000000f'|format(1.5)   '{:>1000000000}'.format(1)   '{:{w}}'.format(1, w=1000000000)
    '{:.{p}f}'.format(1.5, p=1000000000)   '%s%s%s' * 3000000|format(1)
    (('{0}' * 1000000) ~ '').format('a' * 1000000)   ('a' * 1000000)|replace('a', 'a' * 1000000)
    ('a' * 1000000)|replace('', 'a' * 1000000)   ('a' * 1000000).replace('a', 'a' * 1000000)
    ('a' * 1000000).replace('', 'a' * 1000000)   (range(100000)|list)|join('a' * 1000000)
    ('a' * 1000000).join(range(100000))   1.5|round(1000000000)   1|round(-1000000000)
    '9' * 10000|int   ('9' * 100000)|int   ('9' * 1000000)|float   ('a' * 10000000)|list|length
    ('a' * 10000000)|unique|list|length   ('a' * 1000000)|map('upper')|join|length
    ('a ' * 10000000).split()|length   ('a' * 10000000)|batch(1)|list|length
    ('\n' * 1000000)|indent(1000)   'a' * 2 ** 62   '' * 10 ** 30
    ('a' * 10000000)[::-1]|length   ('a' * 1000000)|trim('a' * 1000000)
    ('a' * 1000000).strip('b' * 1000000)   ('ab' * 100000)|title|length
    ('a' * 3000000)|upper|length   loop.cycle()   loop.cycle(*[])
    loop.changed(a) or loop.changed(b)   loop.changed(*[a]) or loop.changed(*[b])
    lipsum(n=100000)   cycler(1)   joiner()   debug()   debug(a)   self   caller()   super()
    loop   loop(a)   strftime_now('%1000000000d')   strftime_now('%0255Y' * 1000000)
    '%(x)s' * 1000000|format(x='a' * 1000000)   ('%(x)s' * 1000000)|format(x='a' * 1000000)
    ('{x}' * 1000000).format(x='a' * 1000000)   ('%9999d' * 100000)|format(1)
    ('{:9999}' * 100000).format(1)   ('a' * 10000000)|upper ~ ('a' * 10000000)|lower
    range(5)|list * 3   range(3) + [3]   'x'|center(1000000000)   'x y'|wordwrap(1000000000)
    'x'|truncate(1000000000)   1000000000|filesizeformat   'x'|urlize   1|xmlattr
";

/// Whole templates.
const TEMPLATES: &[&str] = &[
    // Concatenated without end: chains of lists are lazy, and copied when they are deep.
    "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x|length }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(70) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x|length }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(31) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x == ns.x + [] }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(70) %}{% set ns.x = ns.x|chain(ns.x) %}{% endfor %}{{ ns.x|length }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(70) %}{% set ns.x = ns.x|zip(ns.x)|list %}{% endfor %}{{ ns.x ~ '' }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(70) %}{% set ns.x = dict(a=ns.x, b=ns.x) %}{% endfor %}{{ ns.x ~ '' }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(70) %}{% set ns.x = [ns.x] * 2 %}{% endfor %}{{ ns.x ~ '' }}",
    "{% set ns = namespace(x=(1,)) %}{% for i in range(70) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x|length }}",
    "{% macro m(x, n) %}{% if n %}{{ m([x, x], n - 1) }}{% else %}{{ x ~ '' }}{% endif %}{% endmacro %}{{ m([1], 60) }}",
    "{% for x in [1] recursive %}{{ loop([[x, x], [x, x]]) }}{% endfor %}",
    // Slices of slices.
    "{% set ns = namespace(x=[1, 2]) %}{% for i in range(100000) %}{% set ns.x = ns.x[0:] %}{% endfor %}{{ ns.x|list }}",
    "{% set ns = namespace(x=[1, 2]) %}{% for i in range(2000) %}{% set ns.x = ns.x[0:] %}{% endfor %}{{ ns.x|list }}",
    "{% set ns = namespace(x=[1, 2]) %}{% for i in range(100000) %}{% set ns.x = ns.x|reverse %}{% endfor %}{{ ns.x|list }}",
    "{% set ns = namespace(x=[1, 2]) %}{% for i in range(100000) %}{% set ns.x = ns.x|batch(1)|map('first') %}{% endfor %}{{ ns.x|list }}",
    // Little steps that each cost much.
    "{% set x = ([1] * 100000000)[99999999:] %}{% for i in range(100000) %}{% if x == [2] %}{% endif %}{{ x|first }}{% endfor %}",
    "{% set x = ([1] * 100000000)[99999999:] %}{% for i in range(100000) %}{% for y in x %}{% endfor %}{% endfor %}",
    "{% set x = range(100000)|list %}{% set y = range(100000)|list %}{% for i in range(100000) %}{% if [x] == [y] %}{% endif %}{% endfor %}",
    "{% set x = 'a' * 10000000 %}{% for i in range(100000) %}{% if x == x ~ 'b' %}{% endif %}{% if 'b' in x %}{% endif %}{% endfor %}",
    "{% set x = 'a' * 10000000 %}{% set y = 'a' * 9999999 ~ 'a' %}{% for i in range(100000) %}{% if x == y %}{% endif %}{% if x < y %}{% endif %}{% endfor %}",
    "{% set x = 'a' * 10000000 %}{% set y = 'a' * 9999999 ~ 'a' %}{% for i in range(100000) %}{% if [x] == [y] %}{% endif %}{% endfor %}",
    "{% set x = 'a' * 10000000 %}{% for i in range(100000) %}{% set y = {'x': 1}[x] %}{% set y = {x: 1} %}{% endfor %}",
    "{% set x = 'a' * 10000000 %}{% for i in range(100000) %}{{ x is upper }}{{ x is startingwith x }}{{ x|length }}{% endfor %}",
    "{% set x = 'a' * 1000000 %}{% for i in range(100000) %}{% set y = ['']|join(x) %}{% set y = x.find('b') %}{% set y = x[-1] %}{% endfor %}",
    "{% set x = range(100000)|list %}{% for i in range(100000) %}{% set y, z = x %}{% endfor %}",
    "{% set x = range(100000)|list %}{% for i in range(100000) %}{{ x|length }}{{ x[-1] }}{{ x|last }}{{ x.count(1) }}{% endfor %}",
    "{% set x = range(100000) %}{% for i in range(100000) %}{{ x|length }}{{ x[-1] }}{{ x|last }}{% endfor %}",
    "{% set x = dict(range(100000)|zip(range(100000))) %}{{ x|length }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(30000) %}{% set ns.x = ns.x + [i] %}{% endfor %}{{ ns.x|length }}",
    // Nested, so that dropping or writing goes deep.
    "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = [[[[[[[[[[[[[[[[ns.x]]]]]]]]]]]]]]]] %}{% endfor %}{{ ns.x|length }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(480) %}{% set ns.x = [[[[[[[[[[[[[[[[ns.x]]]]]]]]]]]]]]]] %}{% endfor %}{{ ns.x|length }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(380) %}{% set ns.x = [[[[[[[[[[[[[[[[ns.x]]]]]]]]]]]]]]]] %}{% endfor %}{{ ns.x|tojson|length }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(380) %}{% set ns.x = [[[[[[[[[[[[[[[[ns.x]]]]]]]]]]]]]]]] %}{% endfor %}{{ ns.x ~ '' }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(380) %}{% set ns.x = [[[[[[[[[[[[[[[[ns.x]]]]]]]]]]]]]]]] %}{% endfor %}{{ {ns.x: 1} }}",
    "{% set ns = namespace(x={}) %}{% for i in range(380) %}{% set ns.x = {1:{1:{1:{1:{1:{1:{1:{1:ns.x}}}}}}}} %}{% endfor %}{{ ns.x|length }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(60000) %}{% set ns.x = [[[[[[[[[[[[[[[[ns.x]]]]]]]]]]]]]]]] %}{% endfor %}{{ ns.x ~ '' }}",
    // Namespaces that hold themselves.
    "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
    "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns ~ '' }}",
    "{% set ns = namespace() %}{% set ns.x = {'n': ns} %}{{ ns.x|tojson }}",
    "{% set ns = namespace() %}{% set ns.x = [1]|batch(2, ns) %}{{ ns.x == ns.x|list }}",
    "{% set ns = namespace() %}{% set nt = namespace(x=ns) %}{% set ns.x = nt %}{{ ns == nt }}",
    // A loop that is called, with a text that is long to go through.
    "{% set s = 'a' * 10000000 %}{% for x in [1, 's'] recursive %}{% if x == 1 %}{% set l = loop %}{% for i in range(100000) %}{% set y = l(s) %}{% endfor %}{% else %}{% break %}{% endif %}{% endfor %}",
    "{% set s = 'a' * 10000000 %}{% for i in range(100000) %}{% for c in s %}{% break %}{% endfor %}{% endfor %}",
    "{% set s = 'a' * 10000000 %}{% for i in range(100000) %}{% set y = s[-1] %}{% set z = s[i] %}{% endfor %}",
    "{% set s = ('a' * 10000000)|list %}{% for i in range(100000) %}{% if s %}{% endif %}{% set y = s|last %}{% for c in s %}{% break %}{% endfor %}{% endfor %}",
    "{% macro m(s) %}{{ s|length }}{% endmacro %}{% set s = 'a' * 10000000 %}{% for i in range(100000) %}{% set y = m(s) %}{% endfor %}",
    "{% set s = '1' * 1000000 %}{% for i in range(100000) %}{% set y = s|int(0) %}{% set z = s|float(0) %}{% set z = s is lower %}{% endfor %}",
    "{% set s = ('a,' * 500000).split(',') %}{% for i in range(100000) %}{% set y = s|sort %}{% endfor %}",
    "{% set s = range(100000)|list %}{% for i in range(100000) %}{% set y = {'a': s}|items %}{% set z = s|d(1) %}{% if 0 < s < 1 %}{% endif %}{% endfor %}",
    // Sources that are hard to compile.
    "@long-sum",
    "@long-literal",
    "@deep-literal",
    "@many-elifs",
    "@long-filter-chain",
    "@long-string-fold",
    "@deep-macros",
    "@long-attributes",
    "@long-compare",
    "@nested-repeats",
    // Other templates.
    "{% include 'chat_template' %}",
    "{% import 'chat_template' as t %}{{ t }}",
    "{% extends 'chat_template' %}",
    "{% block x %}{{ self.x() }}{% endblock %}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{{ m() }}{% endcall %}",
    "{% set x %}{% for i in range(100000) %}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa{% endfor %}{% endset %}{% for i in range(100000) %}{{ x }}{% endfor %}",
    "{% autoescape true %}{{ ('<' * 10000000) }}{{ ('<'|safe) ~ ('<' * 10000000) }}{% endautoescape %}",
    "{% autoescape 'json' %}{{ [1] }}{% endautoescape %}",
];

/// Sources too long to be written out.
fn source(template: &str) -> String {
    match template {
        "@long-sum" => format!("{{{{ a{} }}}}", "+1".repeat(260_000)),
        "@long-literal" => format!("{{{{ [{}] }}}}", "1,".repeat(260_000)),
        "@deep-literal" => format!("{{{{ {}{} }}}}", "[".repeat(260_000), "]".repeat(260_000)),
        "@many-elifs" => format!("{{% if a %}}{}{{% endif %}}", "{%elif a%}".repeat(50_000)),
        "@long-filter-chain" => format!("{{{{ a{} }}}}", "|e".repeat(260_000)),
        "@long-string-fold" => format!("{{{{ ''{} }}}}", "~'a'".repeat(130_000)),
        "@deep-macros" => format!(
            "{}{}",
            "{%macro m(a)%}{{b}}".repeat(140),
            "{%endmacro%}".repeat(140)
        ),
        "@long-attributes" => format!("{{{{ a{} }}}}", ".a".repeat(260_000)),
        "@long-compare" => format!("{{{{ 1{} }}}}", "<a".repeat(260_000)),
        "@nested-repeats" => format!("{{{{ {}1{} ~ '' }}}}", "[".repeat(60), "]*2".repeat(60)),
        template => template.to_owned(),
    }
}

fn cases() -> Vec<(String, String)> {
    let words = |table: &'static str| {
        table
            .split("  ")
            .map(str::trim)
            .filter(|word| !word.is_empty())
    };
    let on_shared = words(ON_SHARED).map(|expression| {
        let all =
            format!("{SHARED}{{% for i in [1, 2] %}}{{% set x = {expression} %}}{{% endfor %}}");
        (expression.to_owned(), all)
    });
    let large = words(LARGE).map(|expression| {
        let all = format!("{{% for i in [1, 2] %}}{{{{ {expression} }}}}{{% endfor %}}");
        (expression.to_owned(), all)
    });
    let written = ["a", "c", "c.items()"].map(|value| {
        let all = format!("{SHARED}{{{{ {value} }}}}");
        (format!("writing {value}"), all)
    });
    let templates = TEMPLATES
        .iter()
        .map(|template| ((*template).to_owned(), source(template)));
    let expressions = on_shared.chain(large).chain(written);
    expressions.chain(templates).collect()
}

/// A second is enough for each where the machine is free.
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn no_template_takes_more_than_its_share() {
    for (name, source) in cases() {
        let start = Instant::now();
        let template = ChatTemplate::new(&source);
        let rendered = template.and_then(|template| template.render(&Map::new()));
        let took = start.elapsed();
        assert!(took < LIMIT, "{name}: {took:?}");
        match rendered {
            Ok(text) => assert!(text.len() <= 128 << 20, "{name}: {} bytes", text.len()),
            Err(Error::TemplateFailed { .. } | Error::TemplateSyntax { .. }) => {}
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

/// What guards stand in the way of, and must not change.
#[test]
fn what_models_write_is_computed_as_ever() {
    let cases = [
        (
            "{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' in 'ab' == true }}",
            "True False False",
        ),
        (
            "{{ 2 == (1 if false else 2) }} {{ [1] == [1] }} {{ {'a': [1]} == {'a': [2]} }}",
            "True True False",
        ),
        (
            "{{ 'ab' * 2 * 2 }} {{ 2 * 3 ** 2 * -1 }} {{ [1] * 2 + [3] }}",
            "abababab -18 [1, 1, 3]",
        ),
        (
            "{{ [1, 2, 3][::-1] }} {{ 'abc'[1:] }} {{ 'abc'[-1] }} {{ {'a': 1}['a'] }}",
            "[3, 2, 1] bc c 1",
        ),
        (
            "{% set a, b = [1, 2] %}{{ a ~ b ~ [a] ~ true }} {{ range(3)|list }} {{ range(5, 0, -2) }}",
            "12[1]True [0, 1, 2] [5, 3, 1]",
        ),
        (
            "{% macro add(n, k=1) %}{% set n.x = n.x + k %}{% endmacro %}{% set ns = namespace(x=1) %}\
             {{ add(ns) }}{{ add(n=ns, k=2) }}{{ ns.x }} {{ ns }}",
            "4 {'x': 4}",
        ),
        (
            "{% for x in [1, [2, [3]]] recursive %}{% if x is number %}{{ x }}{% else %}({{ loop(x) }}){% endif %}{% endfor %}",
            "1(2(3))",
        ),
        (
            "{% for x in [1, 2, 3] if x != 2 %}{{ loop.cycle('a', 'b') }}{{ x }}{{ loop.previtem }}{% endfor %}",
            "a1b31",
        ),
        (
            "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}x{% endcall %} {{ dict(a=1, **{'b': 2}) }}",
            "<x> {'a': 1, 'b': 2}",
        ),
        (
            "{{ [1, 2]|map('string')|join('*') }} {{ [3, 1]|sort }} {{ [1, 2]|sum }} {{ [1, 2]|reverse|list }}",
            "1*2 [1, 3] 3 [2, 1]",
        ),
        (
            "{{ {'b': 1}|items|list }} {{ {'b': 1}.items()|list }} {{ 'a,b'.split(',')|last }}",
            "[['b', 1]] [['b', 1]] b",
        ),
    ];
    for (source, expected) in cases {
        let text = ChatTemplate::new(source)
            .unwrap()
            .render(&Map::new())
            .unwrap();
        assert_eq!(text, expected, "{source}");
    }
    let error = ChatTemplate::new("\n{{ [1]|join(*[2]) }}").unwrap_err();
    assert!(
        matches!(error, Error::TemplateSyntax { line: 2, .. }),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("`*` before an argument of a filter"),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn what_is_put_together_of_them_ends_too(
        expression in "(a|c|ns|loop|'x'|9|\\[a\\]|\\{'k': c\\})(\
            \\|(list|join|sort|string|items|first|last|length|map\\('list'\\)|batch\\(2\\)|unique|sum|reverse|tojson|upper)\
            |\\[(0|-1|a|1:|::2|:-1|::-1)\\]|\\.(items|keys|values|get|count|join|format|split)\\((|a|'x')\\)\
            | (~|==|<|in|\\+|\\*|//|and) (a|b|c|ns|'x'|9)){0,5}",
    ) {
        let source = format!(
            "{SHARED}{{% for i in [1, 2] %}}{{% set x = {expression} %}}{{{{ x ~ x }}}}{{% set ns.x = x %}}\
             {{% set a = [x, x] %}}{{{{ {expression} }}}}{{% endfor %}}"
        );
        let start = Instant::now();
        let _ = ChatTemplate::new(&source).and_then(|template| template.render(&Map::new()));
        prop_assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
    }
}
