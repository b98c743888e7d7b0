// A sketch of the page, element by element, as plain data: sketches of equal pages are equal. It is evaluated on demand, and changes
// nothing.
(() => {
  "use strict";
  const MOST = 6000;
  const styles = [
    "opacity", "visibility", "display", "transform", "translate", "rotate", "scale", "color", "background-color", "background-image",
    "background-position", "background-size", "filter", "backdrop-filter", "clip-path", "mask-image", "mix-blend-mode", "border-radius",
    "border-color", "border-width", "box-shadow", "text-shadow", "font-family", "font-size", "font-weight", "letter-spacing", "z-index",
    "fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-dashoffset", "object-fit", "object-position",
  ];
  // Attributes without `id` and `style`; differences of inherited or computed styles are reported with the styles.
  const unseen = new Set(["script", "style", "link", "meta", "title", "head", "template", "noscript", "base", "source", "track"]);
  const elements = [];
  const nameOf = (element, root, prefix, parentName) => {
    const id = element.id;
    if (id && root.querySelectorAll(`[id="${CSS.escape(id)}"]`).length === 1) return `${prefix}#${CSS.escape(id)}`;
    const tag = element.localName;
    if (!element.parentElement || tag === "body") return `${prefix}${tag}`;
    let place = 1;
    for (let before = element.previousElementSibling; before; before = before.previousElementSibling) if (before.localName === tag) place++;
    return `${parentName} > ${tag}:nth-of-type(${place})`;
  };
  const walk = (element, root, prefix, parent, left, top) => {
    if (elements.length >= MOST || unseen.has(element.localName)) return;
    const view = element.ownerDocument.defaultView;
    const style = view.getComputedStyle(element);
    const name = nameOf(element, root, prefix, parent >= 0 ? elements[parent].name : "");
    const box = element.getBoundingClientRect();
    const looks = {};
    for (const property of styles) looks[property] = style.getPropertyValue(property);
    const inline = {};
    for (const property of element.style ?? []) inline[property] = element.style.getPropertyValue(property);
    const attributes = {};
    for (const { name: attribute, value } of element.attributes) {
      if (attribute !== "style" && attribute !== "id") attributes[attribute] = value.length > 200 ? `${value.slice(0, 200)}… (${value.length})` : value;
    }
    let text = "";
    for (const node of element.childNodes) if (node.nodeType === 3) text += node.data;
    const index = elements.length;
    elements.push({
      name,
      tag: element.localName,
      parent,
      box: [box.left + left, box.top + top, box.width, box.height],
      shown: style.visibility === "visible" && style.display !== "none" && box.width > 0 && box.height > 0,
      text: text.trim(),
      inline,
      looks,
      attributes,
    });
    for (const child of element.children) walk(child, root, prefix, index, left, top);
    if (element.shadowRoot) {
      for (const child of element.shadowRoot.children) walk(child, element.shadowRoot, `${name} >>> `, index, left, top);
    }
    if (element.localName === "iframe") {
      let inner = null;
      try { inner = element.contentDocument; } catch { /* another origin */ }
      if (inner?.documentElement) walk(inner.documentElement, inner, `${name} >>> `, index, left + box.left, top + box.top);
    }
  };
  walk(document.documentElement, document, "", -1, 0, 0);
  return { elements, lots: window.__HF_VIRTUAL_TIME__.lots() };
})()
