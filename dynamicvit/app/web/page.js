// Runs in the page's head, before any component: what the components share in the browser.
// `dynamicvitTexts` (language -> key -> text), `dynamicvitClasses` (language -> English name -> name) and
// `dynamicvitErrors` (language -> [pattern of an English sentence, sentence]) are defined just before.
"use strict";

window.dynamicvit = (() => {
  const STORE = "dynamicvit-language";
  const listeners = { language: [], scene: [], jump: [], link: [], open: [] };
  let language = firstLanguage();
  let scene = null;
  let pixels = null;
  let frame = null;
  let link = null;
  const patterns = {}; // language -> [RegExp of an English sentence, sentence]

  function errorPatterns() {
    patterns[language] ??= dynamicvitErrors[language].map(([source, own]) => [new RegExp(`^${source}$`), own]);
    return patterns[language];
  }

  function firstLanguage() {
    const asked = new URLSearchParams(location.search).get("lang");
    const wishes = [asked, readStore(), ...navigator.languages.map((code) => code.slice(0, 2))];
    return wishes.find((code) => Object.hasOwn(dynamicvitTexts, code ?? "")) ?? "en";
  }

  /** Storage can be forbidden, for instance in a frame of another site. */
  function readStore() {
    try {
      return localStorage.getItem(STORE);
    } catch {
      return null;
    }
  }

  function writeStore(code) {
    try {
      localStorage.setItem(STORE, code);
    } catch {
      // The choice then lasts as long as the page.
    }
  }

  function tell(event, detail) {
    for (const listener of listeners[event]) listener(detail);
  }

  return {
    /** Code of the language that the page is in. */
    get language() {
      return language;
    },
    setLanguage(code) {
      language = code;
      writeStore(code);
      document.documentElement.lang = code;
      tell("language", code);
    },
    /** Gives the text of a key with its {names} filled in. */
    say(key, values = {}) {
      return dynamicvitTexts[language][key].replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
    },
    /** Gives the name of a class in the page's language; as it is where none is known. */
    className(name) {
      const names = dynamicvitClasses[language];
      return Object.hasOwn(names, name) ? names[name] : name;
    },
    /** Gives a sentence that says what went wrong in the page's language, and so what fills it in; else as it is. */
    sentence(text) {
      for (const [pattern, own] of errorPatterns()) {
        const found = pattern.exec(text);
        if (found) return own.replace(/\{(\d+)\}/g, (slot, number) => this.sentence(found[number]));
      }
      return text;
    },
    /** Fills what data-text names as content, and what data-text-label and -title name as attributes. */
    translate(root) {
      const say = this.say;
      for (const node of root.querySelectorAll("[data-text]")) node.textContent = say(node.dataset.text);
      for (const node of root.querySelectorAll("[data-text-label]")) {
        node.setAttribute("aria-label", say(node.dataset.textLabel));
      }
      for (const node of root.querySelectorAll("[data-text-title]")) node.title = say(node.dataset.textTitle);
      for (const node of root.querySelectorAll(".hint")) {
        node.textContent = "?";
        node.setAttribute("aria-label", say("hint.label", { term: say(node.dataset.hint) }));
      }
    },
    /** What the explorer shows now: {image, model, title, settings}, and of the model {methods, has_fast_path, terms}. */
    get scene() {
      return scene;
    },
    /** What the model sees of the image that the explorer shows: an image element. */
    get pixels() {
      return pixels;
    },
    /** Where the crop lies in the whole image: {whole (its address), image (its key), at, box}, shares of its sides. */
    get frame() {
      return frame;
    },
    publish(next, seen, place) {
      scene = next;
      pixels = seen;
      frame = place;
      tell("scene", scene);
    },
    /** Asks the explorer to show other settings of the same image, for instance {keep_ratio: 0.5}. */
    jump(settings) {
      tell("jump", settings);
    },
    /** The address that reopens what is shown: {url, holdsPicture}; null before the first image. */
    get link() {
      return link;
    },
    publishLink(next) {
      link = next;
      tell("link", link);
    },
    /** Asks the page for an image of this visit or an example, a model, settings, a view and a patch. */
    open(request) {
      tell("open", request);
    },
    /** Calls listener(detail) at each event: "language" (code), "scene" and "link" (what is shown), "jump", "open". */
    on(event, listener) {
      listeners[event].push(listener);
    },
  };
})();
document.documentElement.lang = dynamicvit.language;

// Hints: what a word means, the text of its data-hint + "_text", in a bubble on hover, focus and tap. Either the word is a
// button itself, <button class="term" type="button" data-hint="about.token">, or a round one stands beside it,
// <button class="hint" type="button" data-hint="about.token"></button>, filled in by translate().
(() => {
  let bubble = null;
  let owner = null;

  function show(button) {
    if (button === owner) return;
    hide();
    owner = button;
    bubble ??= Object.assign(document.createElement("div"), { id: "hint-bubble", role: "tooltip", popover: "manual" });
    bubble.textContent = dynamicvit.say(`${button.dataset.hint}_text`);
    document.querySelector(".gradio-container").append(bubble);
    button.setAttribute("aria-describedby", bubble.id);
    bubble.showPopover(); // in the top layer: nothing on the page clips it
    const [box, size] = [button.getBoundingClientRect(), bubble.getBoundingClientRect()];
    const fitsBelow = box.bottom + 6 + size.height < innerHeight;
    bubble.style.top = `${fitsBelow ? box.bottom + 6 : Math.max(4, box.top - 6 - size.height)}px`;
    bubble.style.left = `${Math.max(8, Math.min(box.left - 12, innerWidth - size.width - 8))}px`;
  }

  function hide() {
    if (!owner) return;
    owner.removeAttribute("aria-describedby");
    owner = null;
    bubble.hidePopover();
  }

  const hintAt = (event) => event.target.closest?.("[data-hint]");
  for (const name of ["pointerover", "focusin", "click"]) {
    document.addEventListener(name, (event) => {
      if (hintAt(event)) show(hintAt(event));
      else if (name !== "focusin" && event.target !== bubble && owner !== document.activeElement) hide();
    });
  }
  document.addEventListener("focusout", (event) => hintAt(event) && hide());
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  document.addEventListener("scroll", hide, true);
})();

// What Gradio's browser side says of a full queue of events (503) is English in every language; of any other refusal it
// shows the server's own sentence, and this is one.
(() => {
  const send = window.fetch;
  window.fetch = async (...request) => {
    const answer = await send(...request);
    const isFull = answer.status === 503 && String(request[0].url ?? request[0]).includes("/queue/join");
    return isFull ? Response.json({ error: dynamicvit.say("page.full") }, { status: 429 }) : answer;
  };
})();

// Gradio's dropdown opens again when Tab leaves it, and then covers the examples: it sees the key after the blur.
document.addEventListener(
  "keydown",
  (event) => {
    if (event.key === "Tab" && event.target.closest("#model")) event.stopImmediatePropagation();
  },
  true,
);
