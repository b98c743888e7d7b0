/** Files that a page names and a project does not have. */

/** What the farm has for itself: the compiler puts its own copy in their place. */
const FARM_HAS = /(^|\/)gsap\/dist\//;

/** The references of `page`, a path in the project, that are relative and lead to none of its `files`. */
export function missing(references: string[], page: string, files: ReadonlySet<string>): string[] {
  const found = new Set<string>();
  for (const reference of references) {
    // With a scheme, from another host, or within the page.
    if (/^([a-z][a-z0-9+.-]*:|\/\/|#|$)/i.test(reference.trim())) continue;
    let path: string;
    try {
      path = decodeURIComponent(new URL(reference, `http://project/${page}`).pathname.slice(1));
    } catch {
      continue;
    }
    if (!files.has(path) && !FARM_HAS.test(path)) found.add(path);
  }
  return [...found];
}
