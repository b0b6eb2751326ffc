/** What a row can hold; `text` is the CLIP embedding of the caption, and `layers` stands for one pair of columns per chosen block. In the order of the schema. */
export const OUTPUTS = ['latents', 'clip', 'text', 'cls', 'patches', 'layers', 'codes', 'logits', 'pixels'] as const
export type Output = (typeof OUTPUTS)[number]
