/** What an evaluation of reconstructions is asked for, and what it answers. */

import type { Device } from '../../engine/device.js'
import type { ListingFacts } from '../../io/sources/listing-report.js'
import type { Precision } from '../../model/index.js'
import type { NetworkOptions } from '../networks/open.js'
import type { PassRequest } from '../pass/request.js'
import type { ReconSummary } from './summary.js'

export const RECON_METRICS = ['psnr', 'ssim', 'lpips', 'rfid'] as const
export type ReconMetric = (typeof RECON_METRICS)[number]

export interface ReconRequest extends PassRequest {
  source: string
  model: string
  cacheDir?: string
  metrics: ReconMetric[]
  /** Transform spec; default adm-crop at the model's size. */
  transform?: string
  /** Of the encoder. */
  precision: Precision
  /** The official script decodes at fp32, whatever it encodes at. */
  decoderPrecision: Precision
  device: Device
  network: Omit<NetworkOptions, 'batchSize'>
  /** The official script averages SSIM and LPIPS per batch first: its batch size. */
  protocolBatch: number
  /** Folder for results and for what a later run continues from, which lies in the cache otherwise. */
  out?: string
  /** Write reference/ and reconstructed/ PNGs there, named as the official script does. */
  saveImages: boolean
  overwrite?: boolean
}

export interface ReconResult extends ReconSummary, ListingFacts {
  rfid?: number
  model: string
  modelDigest: string
  listingDigest: string
  source: string
  transform: string
  precision: Precision
  decoderPrecision: Precision
  rejects: number
  protocol: string
  interrupted: boolean
  seconds: number
}
