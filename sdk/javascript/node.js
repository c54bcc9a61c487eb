// Lets Node.js, from 20.6 on, run a plugin's tests: it has there what the host has for every component.
//
//     node --import ./sdk/javascript/node.js --test

import * as modules from "node:module";

const TEXT = "autodidact:plugin/text@0.1.0";

/** Does what the WIT says of it. */
function utf16(text, ends, first, every) {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let read = "";
  const endsRead = [];
  for (let at = first; at < ends.length; at += every) {
    read += decoder.decode(text.subarray(at > 0 ? ends[at - 1] : 0, ends[at]));
    endsRead.push(read.length);
  }
  return [read, new Uint8Array(Uint32Array.from(endsRead).buffer)];
}

export default { utf16 };

const here = { url: import.meta.url, shortCircuit: true };
if (modules.registerHooks) {
  modules.registerHooks({ resolve: (name, context, next) => (name === TEXT ? here : next(name, context)) });
} else {
  const hook = `export const resolve = (name, context, next) =>
    name === ${JSON.stringify(TEXT)} ? ${JSON.stringify(here)} : next(name, context);`;
  modules.register(`data:text/javascript,${encodeURIComponent(hook)}`);
}
