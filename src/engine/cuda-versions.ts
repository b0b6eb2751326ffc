/** The versions of CUDA that ONNX Runtime's provider is built for, and what each of them needs. */

export interface CudaVersion {
  major: number
  /** The oldest driver that runs it (NVIDIA's CUDA compatibility table). */
  oldestDriver: string
  /** An Ubuntu package with a driver that is new enough. */
  driverPackage: string
  /** Libraries that the provider loads, and the PyPI packages that also carry them. */
  libraries: { file: string; pip: string }[]
  cudnn: { file: string; pip: string }
}

export const CUDA_VERSIONS: CudaVersion[] = [
  {
    major: 12,
    oldestDriver: '525.60.13',
    driverPackage: 'nvidia-driver-550',
    libraries: [
      { file: 'libcudart.so.12', pip: 'nvidia-cuda-runtime-cu12' },
      { file: 'libcublas.so.12', pip: 'nvidia-cublas-cu12' },
      { file: 'libcublasLt.so.12', pip: 'nvidia-cublas-cu12' },
      { file: 'libcufft.so.11', pip: 'nvidia-cufft-cu12' },
      { file: 'libcurand.so.10', pip: 'nvidia-curand-cu12' },
    ],
    cudnn: { file: 'libcudnn.so.9', pip: 'nvidia-cudnn-cu12' },
  },
  {
    major: 13,
    oldestDriver: '580.65.06',
    driverPackage: 'nvidia-driver-580',
    libraries: [
      { file: 'libcudart.so.13', pip: 'nvidia-cuda-runtime' },
      { file: 'libcublas.so.13', pip: 'nvidia-cublas' },
      { file: 'libcublasLt.so.13', pip: 'nvidia-cublas' },
      { file: 'libcufft.so.12', pip: 'nvidia-cufft' },
      { file: 'libcurand.so.10', pip: 'nvidia-curand' },
    ],
    cudnn: { file: 'libcudnn.so.9', pip: 'nvidia-cudnn-cu13' },
  },
]

/** The major version of CUDA in a list of libraries that a provider is linked to; null when it names none. */
export function cudaMajor(needed: readonly string[]): number | null {
  const [major] = needed.flatMap((file) => /^libcudart\.so\.(\d+)$/.exec(file)?.[1] ?? [])
  return major === undefined ? null : Number(major)
}
