// A conversation: what was asked, and what one model answered, or two, each in its own thread.
//
//   { id, created, updated, models: [id, …], system,
//     turns: [{ question, answers: [{ model, content, finish, error, …figures }, …] }] }
//
// There are as many answers to a question as models; the answers at one place are a thread.

/** What a turn's answer is before it begins. */
export function newAnswer(model) {
  return { model, content: "", finish: null, error: null, tokens: null, counted: false, rate: null, first: null, seed: null, attempt: 0 };
}

export function newTurn(question, models) {
  return { question, answers: models.map(newAnswer) };
}

export function newConversation(models, system) {
  // crypto.randomUUID is there with https and on localhost only.
  const id = crypto.getRandomValues(new Uint32Array(3)).reduce((text, number) => text + number.toString(36), "");
  return { id, created: Date.now(), updated: Date.now(), models: [...models], system, turns: [] };
}

/** The first question on one line, or nothing. */
export function title(conversation) {
  const line = (conversation.turns[0]?.question ?? "").replace(/\s+/g, " ").trim();
  const characters = [...line];
  return characters.length > 60 ? `${characters.slice(0, 60).join("")}…` : line;
}

/** The messages that lead to the answer of `turn` in a thread. */
export function messagesBefore(conversation, turn, thread) {
  const earlier = conversation.turns.slice(0, conversation.turns.indexOf(turn));
  return [...spoken(conversation.system, earlier, thread), { role: "user", content: turn.question }];
}

/**
 * What `retune data` reads as a row of messages: an object, or one for each model side by side.
 * Where nobody wrote a system prompt, it is that of the model, which `systemOf` tells.
 */
export function exported(conversation, systemOf) {
  const rows = conversation.models.map((model, thread) => ({
    model,
    messages: spoken(conversation.system.trim() || systemOf(model) || "", conversation.turns, thread),
  }));
  return rows.length === 1 ? { messages: rows[0].messages } : rows;
}

function spoken(system, turns, thread) {
  const messages = system.trim() ? [{ role: "system", content: system }] : [];
  for (const { question, answers } of turns) {
    const { content } = answers[thread];
    // A question without an answer would stand beside the next question.
    if (content) messages.push({ role: "user", content: question }, { role: "assistant", content });
  }
  return messages;
}

/** A conversation from what was kept, or null if it is none. */
export function parse(text) {
  try {
    const conversation = JSON.parse(text);
    return isConversation(conversation) ? settled(conversation) : null;
  } catch {
    return null;
  }
}

function isConversation(value) {
  const isText = (each) => typeof each === "string";
  const { id, updated, system, models, turns } = value;
  return [id, system, ...models].every(isText) && Number.isFinite(updated) && models.length > 0 && turns.every(
    ({ question, answers }) =>
      isText(question) && answers.length === models.length && answers.every(({ model, content }) => isText(model) && isText(content)),
  );
}

// An answer that was still coming when the page was closed will not come any more.
function settled(conversation) {
  for (const answer of conversation.turns.flatMap((turn) => turn.answers)) {
    if (!answer.finish && !answer.error) answer.finish = "stopped";
  }
  return conversation;
}
