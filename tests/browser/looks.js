// What can be seen of a page; looks.py asks.
({
  // Every line of text, with its box less the room above and below its letters.
  lines() {
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode());) {
      const holder = node.parentElement;
      const seen = holder.checkVisibility({ visibilityProperty: true, opacityProperty: true });
      if (!seen || !node.data.trim() || holder.closest("style, script, datalist, option")) continue;
      if (holder.closest("thead")?.clientWidth === 1) continue; // titles for screen readers alone
      const range = document.createRange();
      range.selectNodeContents(node);
      for (const box of range.getClientRects()) {
        const spare = box.height * 0.2;
        if (box.width > 1) {
          found.push({ text: node.data.trim(), left: box.left, right: box.right,
            top: box.top + spare, bottom: box.bottom - spare });
        }
      }
    }
    return found;
  },

  overlapping() {
    const lines = this.lines();
    const on = (a, b) =>
      Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
      Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
    return lines.flatMap((a, i) =>
      lines.slice(i + 1).filter((b) => on(a, b)).map((b) => `${a.text} | ${b.text}`));
  },

  // Texts outside the window, outside their figure, or wider than their box.
  cut() {
    const width = document.documentElement.clientWidth;
    const outside = this.lines().filter((line) => line.left < -1 || line.right > width + 1);
    const figures = [...document.querySelectorAll("svg text")].filter((text) => {
      const own = text.getBoundingClientRect();
      const all = text.closest("svg").getBoundingClientRect();
      return own.width && (own.left < all.left - 1 || own.right > all.right + 1 ||
        own.top < all.top - 2 || own.bottom > all.bottom + 2);
    });
    const boxes = [...document.querySelectorAll("td, th, dt, dd, p, li, h1, h2, h3, summary, label, button")]
      .filter((box) => box.clientWidth > 1 && box.scrollWidth > box.clientWidth + 1);
    return [...outside.map((line) => line.text), ...[...figures, ...boxes].map((each) => each.textContent)];
  },
})
