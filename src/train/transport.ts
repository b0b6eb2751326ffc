/**
 * What a diffusion transformer is trained to predict, as numbers per sample: noised latents are
 * alpha · x1 + sigma · x0 (x1 data, x0 noise, t = 1 is data), and the loss is
 * weight · mean((gain · prediction − target)²) with target = dataPart · x1 + noisePart · x0.
 * Reference: LightningDiT transport/path.py (ICPlan, VPCPlan, GVPCPlan) and transport.py (training_losses).
 */
export const PATHS = ['Linear', 'GVP', 'VP'] as const
export const PREDICTIONS = ['velocity', 'score', 'noise'] as const
export const LOSS_WEIGHTS = ['none', 'velocity', 'likelihood'] as const

export interface Transport {
  path: (typeof PATHS)[number]
  prediction: (typeof PREDICTIONS)[number]
  /** Has no effect on velocities, as in the reference. */
  lossWeight: (typeof LOSS_WEIGHTS)[number]
}

/** The order of a sample's numbers in the graph's input `plan` [.., 6]. */
export const PLAN_COLUMNS = 6

interface Plan {
  alpha: number
  sigma: number
  dAlpha: number
  dSigma: number
  /** g² / 2 of the reference's compute_drift. */
  drift: number
}

const [BETA_MIN, BETA_MAX] = [0.1, 20]

function planOf(path: Transport['path'], t: number): Plan {
  switch (path) {
    case 'Linear': {
      const sigma = 1 - t
      return { alpha: t, sigma, dAlpha: 1, dSigma: -1, drift: sigma ** 2 / t + sigma }
    }
    case 'GVP': {
      const angle = (Math.PI / 2) * t
      const [alpha, sigma] = [Math.sin(angle), Math.cos(angle)]
      const [dAlpha, dSigma] = [(Math.PI / 2) * sigma, -(Math.PI / 2) * alpha]
      const ratio = Math.PI / (2 * Math.tan(angle))
      return { alpha, sigma, dAlpha, dSigma, drift: ratio * sigma ** 2 - sigma * dSigma }
    }
    case 'VP': {
      const rest = 1 - t
      const logMean = -0.25 * rest ** 2 * (BETA_MAX - BETA_MIN) - 0.5 * rest * BETA_MIN
      const dLogMean = 0.5 * rest * (BETA_MAX - BETA_MIN) + 0.5 * BETA_MIN
      const alpha = Math.exp(logMean)
      const sigma = Math.sqrt(-Math.expm1(2 * logMean))
      const dSigma = (Math.exp(2 * logMean) * 2 * dLogMean) / (-2 * sigma)
      const beta = BETA_MIN + rest * (BETA_MAX - BETA_MIN)
      return { alpha, sigma, dAlpha: alpha * dLogMean, dSigma, drift: beta / 2 }
    }
  }
}

/** [samples, 6]: alpha, sigma, data part and noise part of the target, gain, weight. */
export function planSamples({ path, prediction, lossWeight }: Transport, times: Float32Array): Float32Array {
  const out = new Float32Array(times.length * PLAN_COLUMNS)
  times.forEach((t, i) => {
    const { alpha, sigma, dAlpha, dSigma, drift } = planOf(path, t)
    const target = prediction === 'velocity' ? [dAlpha, dSigma, 1] : prediction === 'noise' ? [0, 1, 1] : [0, -1, sigma]
    const weights = { none: 1, velocity: (drift / sigma) ** 2, likelihood: drift / sigma ** 2 }
    const weight = prediction === 'velocity' ? 1 : weights[lossWeight]
    out.set([alpha, sigma, ...target, weight], i * PLAN_COLUMNS)
  })
  return out
}
