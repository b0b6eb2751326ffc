/** How one image's bytes are read, wherever they lie. */

export interface ReadOptions {
  /** Largest file of one image in bytes. */
  maxBytes?: number
  /** Whether http(s) addresses of private networks may be read. */
  allowPrivateUrls?: boolean
  /** Whether entries name buckets of their own, as those of lists do: a bucket that is not there is then one bad entry. */
  ownBuckets?: boolean
  /** Ends the read, with the signal's reason. */
  signal?: AbortSignal
}
