/** What a row can hold; `layers` stands for one pair of columns per chosen block. In the order of the schema. */
export const OUTPUTS = ['latents', 'clip', 'cls', 'patches', 'layers', 'pixels'] as const
export type Output = (typeof OUTPUTS)[number]
