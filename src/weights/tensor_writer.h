// Writes a file of tensors, .safetensors or .gguf, piece by piece: no tensor is in memory whole.
#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "eav/files.h"
#include "weights/tensor_file.h"

namespace eav {

struct OutgoingTensor {
  using Sink = std::function<void(std::string_view bytes)>;

  std::string key;
  TensorEntry entry;                             // its type and shape; the place in the file is found here
  std::function<void(const Sink& write)> bytes;  // hands its bytes over, in order
};

// What the header of a file tells beside its tensors: in .safetensors files texts alone, in GGUF files numbers have 32
// bits.
using Metadata = std::map<std::string, GgufValue>;

// A file that appears when it is finished; its suffix says which of the two it is. A GGUF file tells its
// `architecture`, and has the outer two axes of kernels of five as one, which its header says. Throws eav::Error that
// names the file when it cannot be written, or has no such type.
Temporary write_tensors(const std::filesystem::path& out, std::vector<OutgoingTensor> tensors,
                        const std::string& architecture, const Metadata& metadata);

}  // namespace eav
