# docker buildx bake            builds the default variant, CUDA 13
# docker buildx bake cuda129    for hosts whose driver knows CUDA 12.9 and no newer
# docker buildx bake all        both
#
# Every variable can be set in the environment: IMAGE=registry/name docker buildx bake --push

variable "IMAGE" {
  default = "worker-sglang"
}

# The worker's own, which `python -m builder.release` keeps as utils.py has it: a label, and the tags.
variable "VERSION" {
  default = "1.0.0"
}

# The commit that is built, for a label.
variable "REVISION" {
  default = ""
}

variable "MODEL_NAME" {
  default = ""
}

variable "MODEL_REVISION" {
  default = ""
}

variable "TOKENIZER_PATH" {
  default = ""
}

variable "TOKENIZER_REVISION" {
  default = ""
}

variable "QUANTIZATION" {
  default = ""
}

variable "SPECULATIVE_DRAFT_MODEL_PATH" {
  default = ""
}

variable "SPECULATIVE_DRAFT_MODEL_REVISION" {
  default = ""
}

variable "LORA_PATHS" {
  default = ""
}

group "default" {
  targets = ["cuda13"]
}

group "all" {
  targets = ["cuda13", "cuda129"]
}

target "_worker" {
  context    = "."
  dockerfile = "Dockerfile"
  platforms  = ["linux/amd64"]
  args = {
    VERSION                          = VERSION
    REVISION                         = REVISION
    MODEL_NAME                       = MODEL_NAME
    MODEL_REVISION                   = MODEL_REVISION
    TOKENIZER_PATH                   = TOKENIZER_PATH
    TOKENIZER_REVISION               = TOKENIZER_REVISION
    QUANTIZATION                     = QUANTIZATION
    SPECULATIVE_DRAFT_MODEL_PATH     = SPECULATIVE_DRAFT_MODEL_PATH
    SPECULATIVE_DRAFT_MODEL_REVISION = SPECULATIVE_DRAFT_MODEL_REVISION
    LORA_PATHS                       = LORA_PATHS
  }
  # An unset HF_TOKEN gives an empty secret, which counts as none.
  secret = ["id=HF_TOKEN,env=HF_TOKEN"]
}

target "cuda13" {
  inherits = ["_worker"]
  args = {
    BASE_IMAGE = "lmsysorg/sglang:v0.5.23"
  }
  tags = ["${IMAGE}:${VERSION}-cuda13", "${IMAGE}:${VERSION}"]
}

# An older SGLang, because this one's image needs CUDA 13; builder/flags-0.5.19.json has its flags.
target "cuda129" {
  inherits = ["_worker"]
  args = {
    BASE_IMAGE = "lmsysorg/sglang:v0.5.19-cu129"
  }
  tags = ["${IMAGE}:${VERSION}-cuda129"]
}
