() => {
  // Gradio's dropdown opens again when Tab leaves it, and then covers the examples: it sees the key after the blur.
  const leaveClosed = (event) => {
    if (event.key === "Tab" && event.target.closest("#model")) event.stopImmediatePropagation();
  };
  document.addEventListener("keydown", leaveClosed, true);
}
