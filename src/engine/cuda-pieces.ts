/** What a missing piece of CUDA is called, and what installs it. */
import { createRequire } from 'node:module'
import path from 'node:path'
import type { CudaVersion } from './cuda-versions.js'

export interface MissingPiece {
  /** What is missing, in words. */
  what: string
  /** A command or sentence that puts it right. */
  fix: string
}

/** NVIDIA's packages on PyPI put their libraries where no loader looks. */
const ADD_TO_PATH =
  'export LD_LIBRARY_PATH=$(python3 -c \'import glob, nvidia; print(*glob.glob(nvidia.__path__[0] + "/*/lib"), sep=":")\'):$LD_LIBRARY_PATH'

function onnxRuntimeVersion(): string {
  return (createRequire(import.meta.url)('onnxruntime-node/package.json') as { version: string }).version
}

export function missingProvider(absent: string[], folder: string): MissingPiece {
  const script = path.join(folder, '..', '..', '..', '..', 'script', 'install.js')
  const wheel = `pip download --no-deps onnxruntime-gpu==${onnxRuntimeVersion()}`
  const unpack = `unzip -j onnxruntime_gpu-*.whl '*providers_cuda.so' '*providers_shared.so' -d ${JSON.stringify(folder)}`
  return {
    what: `ONNX Runtime's CUDA provider (${absent.join(', ')} in ${folder})`,
    fix: `for CUDA 12 \`ONNXRUNTIME_NODE_INSTALL=cuda12 node ${JSON.stringify(script)}\`, which downloads it; for CUDA 13 \`${wheel} && ${unpack}\``,
  }
}

/** What is missing of the libraries that the provider is linked to (`needed`; of all where it does not say), and cuDNN. */
export function missingLibraries(
  version: CudaVersion,
  needed: readonly string[],
  isThere: (file: string) => boolean,
): MissingPiece[] {
  const { major, cudnn } = version
  const missing: MissingPiece[] = []
  const linked = version.libraries.filter(({ file }) => needed.length === 0 || needed.includes(file))
  const cuda = linked.filter(({ file }) => !isThere(file))
  if (cuda.length > 0) {
    const packages = [...new Set(cuda.map(({ pip }) => pip))].join(' ')
    missing.push({
      what: `CUDA ${major} libraries (${cuda.map(({ file }) => file).join(', ')})`,
      fix: `install the CUDA ${major} toolkit, or \`pip install ${packages}\` and then \`${ADD_TO_PATH}\``,
    })
  }
  if (!isThere(cudnn.file)) {
    missing.push({
      what: `cuDNN 9 (${cudnn.file})`,
      fix: `install cuDNN 9 for CUDA ${major}, or \`pip install ${cudnn.pip}\` and then \`${ADD_TO_PATH}\``,
    })
  }
  return missing
}
