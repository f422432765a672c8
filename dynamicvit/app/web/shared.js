// Stands before the script of every component, in the same function: Gradio gives a component one script, which it runs
// once, when the component is mounted, as a function of `element`, `props`, `trigger`, `watch` and `server`. Words are put
// in place always as text and never as markup.

const part = (name, from = element) => from.querySelector(`[data-part="${name}"]`);
const setText = (name, text, from = element) => { part(name, from).textContent = text; };

/** Makes an element with attributes and a text, and puts it at the end of a parent. */
function append(parent, tag, text = "", attributes = {}) {
  const node = document.createElement(tag);
  node.textContent = text;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  parent.append(node);
  return node;
}

/** The same for a drawing; its attributes say everything. */
function appendSvg(parent, tag, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  parent?.append(node);
  return node;
}

/** Gives the server's answer, or the sentence that says why there is none. */
async function call(send) {
  const noAnswer = { problem: dynamicvit.say("page.no_answer") };
  try {
    const answer = (await send()) ?? noAnswer;
    return answer.busy === undefined ? answer : { problem: dynamicvit.say("page.busy", { waiting: answer.busy }) };
  } catch {
    return noAnswer;
  }
}

/** Gives a text about what stages do: where there is a fast path nothing is dropped, and it has words of its own. */
function sayOf({ has_fast_path: isFast }, key, values) {
  return dynamicvit.say(isFast ? `${key}_fast` : key, values);
}

const LONG_MS = 1500; // so long nobody asks why it takes long

/** Says from a moment on, in a live region, why a question takes long: its place in the queue. Gives what ends it. */
function explainWait(name, region) {
  let timer = setTimeout(explain, LONG_MS);
  async function explain() {
    const mine = timer;
    if (!part(region).textContent) setText(region, dynamicvit.say("page.computing")); // the place may take long, too
    const { place } = await call(() => server.place(name));
    if (timer !== mine) return;
    const text = place ? dynamicvit.say("page.place", { place }) : dynamicvit.say("page.computing");
    if (part(region).textContent !== text) setText(region, text); // the same is not spoken twice
    timer = setTimeout(explain, LONG_MS);
  }
  return () => {
    clearTimeout(timer);
    timer = 0;
    setText(region, "");
  };
}

/** Puts a value into a Map, which forgets its oldest ones when it holds too many. */
function remember(store, key, value, most) {
  store.delete(key);
  store.set(key, value);
  if (store.size > most) store.delete(store.keys().next().value);
}

/** Joins items into a list as one says it. */
function listed(items) {
  const [separator, last] = [dynamicvit.say("list.separator"), dynamicvit.say("list.and")];
  return [items.slice(0, -1).join(separator), items.at(-1)].filter(Boolean).join(last);
}
