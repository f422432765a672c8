// Runs in the page's head, before any component: what the components share in the browser.
// `dynamicvitTexts` (language -> key -> text) is defined just before.
"use strict";

window.dynamicvit = (() => {
  const STORE = "dynamicvit-language";
  const listeners = { language: [], scene: [], jump: [] };
  let language = firstLanguage();
  let scene = null;

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
    /** Fills what data-text names as content, and what data-text-label and -title name as attributes. */
    translate(root) {
      const say = this.say;
      for (const node of root.querySelectorAll("[data-text]")) node.textContent = say(node.dataset.text);
      for (const node of root.querySelectorAll("[data-text-label]")) {
        node.setAttribute("aria-label", say(node.dataset.textLabel));
      }
      for (const node of root.querySelectorAll("[data-text-title]")) node.title = say(node.dataset.textTitle);
    },
    /** What the explorer shows now: {image, model, title, settings}; null before the first picture. */
    get scene() {
      return scene;
    },
    publish(next) {
      scene = next;
      tell("scene", scene);
    },
    /** Asks the explorer to show other settings of the same picture, for instance {keep_ratio: 0.5}. */
    jump(settings) {
      tell("jump", settings);
    },
    /** Calls listener(detail) at each event: "language" (code), "scene" (what is shown), "jump" (settings). */
    on(event, listener) {
      listeners[event].push(listener);
    },
  };
})();
document.documentElement.lang = dynamicvit.language;

// Gradio's dropdown opens again when Tab leaves it, and then covers the examples: it sees the key after the blur.
document.addEventListener(
  "keydown",
  (event) => {
    if (event.key === "Tab" && event.target.closest("#model")) event.stopImmediatePropagation();
  },
  true,
);
