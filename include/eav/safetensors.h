// Files of named tensors, such as latents: the .safetensors format.
#pragma once
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>

#include "eav/files.h"

namespace [[gnu::visibility("default")]] eav {

// Writes tensors (any device, shape and stored type) by their names; `metadata` goes to the header as it is. The file
// appears when it is complete. Throws eav::Error that names the file when it cannot be written, or has no such type.
void save_safetensors(const std::filesystem::path& file, const std::map<std::string, at::Tensor>& tensors,
                      const std::map<std::string, std::string>& metadata = {});
// The same, as a file that appears when it is finished.
Temporary prepare_safetensors(const std::filesystem::path& file, const std::map<std::string, at::Tensor>& tensors,
                              const std::map<std::string, std::string>& metadata = {});

// All tensors of a file by their names, on the CPU. They lie in the mapped file: never write into them, clone() them.
// Throws eav::Error that names the file when it is cut short, or does not hold what its header says.
// `metadata`, where given, gets the strings of the header.
std::map<std::string, at::Tensor> read_safetensors(const std::filesystem::path& file,
                                                   std::map<std::string, std::string>* metadata = nullptr);

}  // namespace eav
