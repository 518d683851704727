// Writes the weights of a model in other types, such as the packed ones of GGUF.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "eav/generator.h"
#include "eav/progress.h"

namespace [[gnu::visibility("default")]] eav {

// The names of the types that convert() writes: "bfloat16", "fp8", "q8_0", "q4_k".
std::vector<std::string> conversion_types();

struct Conversion {
  ModelPaths paths;
  std::string type;           // one of conversion_types()
  std::filesystem::path out;  // .gguf or .safetensors: "wan.gguf" becomes "wan-transformer.gguf", "wan-vae.gguf", …
  bool one_file = false;      // all parts in `out` itself, under ComfyUI's names for such a file
  bool overwrite = false;     // whether files that exist give way
};

struct ConvertedFile {
  std::string part;  // "transformer"
  std::filesystem::path file;
  int64_t bytes;
};

// Writes a file for each part, or one for all, under names that ComfyUI, ComfyUI-GGUF and stable-diffusion.cpp read:
// the model's own program's for transformers and VAEs, transformers' or, in GGUF files, llama.cpp's for text encoders,
// with UMT5's tokenizer inside. Parts that none of them reads as GGUF become .safetensors beside it. Vectors, tensors
// of up to 1,024 elements and tables of modulations are stored in float32 whatever the type; rows that do not divide
// into blocks of q4_k are q8_0, those that do not divide into blocks of that have 16 bits, as have kernels where the
// type is fp8. No tensor is in memory whole. `progress` is told of each part, and asked whether to stop. Throws
// eav::Error when the model cannot be opened or a file cannot be written: each appears when it is complete.
std::vector<ConvertedFile> convert(const Conversion& conversion, Progress& progress);

}  // namespace eav
