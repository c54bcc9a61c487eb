// Memory that crosses: it lives until the answer of a call was read.

// A block starts with the address of the one before it; heap.alloc aligns to 16, which is more than anything here asks for.
const HEADER: usize = 16;
let last: usize = 0;

/** Takes memory of this call. */
export function take(size: usize): usize {
  const block = heap.alloc(HEADER + size);
  store<usize>(block, last);
  last = block;
  memory.fill(block + HEADER, 0, size);
  return block + HEADER;
}

/** Frees what was taken, and collects objects: nothing is on the stack between calls. */
export function freeAll(): void {
  while (last != 0) {
    const before = load<usize>(last);
    heap.free(last);
    last = before;
  }
  __collect();
}

/** Reads the text whose address and length lie there. */
export function readText(at: usize): string {
  return String.UTF8.decodeUnsafe(load<usize>(at), load<usize>(at, 4));
}

/** Writes a text, its address and length to `at`. */
export function writeText(at: usize, text: string): void {
  const length = String.UTF8.byteLength(text);
  const bytes = take(length);
  String.UTF8.encodeUnsafe(changetype<usize>(text), text.length, bytes);
  store<usize>(at, bytes);
  store<usize>(at, length, 4);
}

/** Writes texts, their address and number to `at`. */
export function writeTexts(at: usize, texts: string[]): void {
  const list = take(8 * texts.length);
  for (let i = 0; i < texts.length; i++) writeText(list + 8 * i, texts[i]);
  store<usize>(at, list);
  store<usize>(at, texts.length, 4);
}

/** Writes a prompt in which the user asks: a conversation of one turn. */
export function writeQuestion(at: usize, question: string): void {
  const turn = take(12);
  store<u8>(turn, 1);
  writeText(turn + 4, question);
  store<u8>(at, 1);
  store<usize>(at, turn, 4);
  store<usize>(at, 1, 8);
}

/** Writes a text that may be missing; an empty one is. */
export function writeOption(at: usize, text: string): void {
  if (text.length == 0) return;
  store<u8>(at, 1);
  writeText(at + 4, text);
}

/** Writes a number that may be missing; one that is not finite is. */
export function writeNumber(at: usize, number: f64): void {
  if (!isFinite(number)) return;
  store<u8>(at, 1);
  store<f64>(at, number, 8);
}

/** Lays out a call's result. */
export function ok(list: usize, length: usize): usize {
  const result = take(12);
  store<usize>(result, list, 4);
  store<usize>(result, length, 8);
  return result;
}

export function failed(error: string): usize {
  const result = take(12);
  store<u8>(result, 1);
  writeText(result + 4, error);
  return result;
}
