/** The module's memory behind its tables, for what depends on the image. Nothing there outlives one. */

const PAGE_BYTES: usize = 65536

let top: usize = __heap_base

/** Gives all memory of the last image back to this one. */
export function resetMemory(): void {
  top = (__heap_base + 4095) & ~4095
}

/** The next free `bytes`, at a multiple of 16; 0 if the memory cannot grow. */
export function reserve(bytes: usize): usize {
  const at = top
  top += (bytes + 15) & ~15
  const missing = <isize>top - (<isize>memory.size() << 16)
  if (missing > 0 && memory.grow(<i32>((<usize>missing + PAGE_BYTES - 1) / PAGE_BYTES)) < 0) return 0
  return at
}
