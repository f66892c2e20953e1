// One model's answer to one question, as it comes.

import { explain, streamChat } from "./api.js";

/**
 * Fills `answer` from the server and calls `changed` after each piece. It never throws: what
 * went wrong stands in `answer.error`, beside what came before.
 */
export async function fill(answer, request, signal, changed) {
  const asked = performance.now();
  let begun = null;
  let ended = null;
  let pieces = 0;
  try {
    for await (const { choices, usage } of streamChat(request, signal)) {
      const choice = choices?.[0];
      const piece = choice?.delta?.content;
      if (piece) {
        ended = performance.now();
        begun ??= ended;
        pieces += 1;
        answer.content += piece;
      }
      if (choice?.finish_reason) answer.finish = choice.stop_reason ?? choice.finish_reason;
      if (usage) {
        answer.tokens = usage.completion_tokens;
        answer.counted = true;
      }
      changed();
    }
    answer.finish ??= "stop";
  } catch (error) {
    if (signal.aborted) answer.finish = "stopped";
    else answer.error = explain(error);
  }
  // An answer that was broken off comes without its count; most pieces are one token.
  answer.tokens ??= pieces || null;
  if (begun !== null) {
    answer.first = (begun - asked) / 1000;
    // The first token took the prompt's time, not its own.
    if (answer.tokens > 1 && ended > begun) answer.rate = ((answer.tokens - 1) * 1000) / (ended - begun);
  }
  changed();
}
