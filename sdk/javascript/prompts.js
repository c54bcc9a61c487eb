// What templates answer.

/** Asks a model in the form that it was trained on. */
export function ask(text, stop = []) {
  return chat([{ role: "user", content: text }], stop);
}

/** Shows a model a conversation, of turns with a `role` (`system`, `user` or `assistant`) and `content`; the model says the next turn. */
export function chat(turns, stop = []) {
  const messages = turns.map(({ role, content }) => ({ role, content: String(content) }));
  return { prompt: { tag: "chat", val: messages }, stop: stop.map(String) };
}

/** Shows a model a text to go on with, as it is. */
export function goOn(text, stop = []) {
  return { prompt: { tag: "text", val: String(text) }, stop: stop.map(String) };
}

/** Makes a new instruction; its form and topic where the model says them, empty for the request's. */
export function item(instruction, { taskType = "", topic = "" } = {}) {
  return { instruction: String(instruction), taskType: String(taskType), topic: String(topic) };
}
