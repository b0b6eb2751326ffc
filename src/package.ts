/**
 * Where this package's own files are, for code that runs from `src/` (tests, benchmarks) and from the files of
 * `dist/`, into which the build gathers many modules: no module may conclude from its own place.
 */
const ROOT = new URL(import.meta.url.replace(/\/(?:src|dist)\/(?!.*\/(?:src|dist)\/).*$/, '/'))

/** A file or a folder (end it with `/`) of the package, by its path from the root. */
export function packageFile(relative: string): URL {
  return new URL(relative, ROOT)
}
