// Which files of a folder hold a part's weights.
#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "weights/config.h"

namespace eav {

struct WeightFiles {
  std::filesystem::path path;  // the file, or the index of several
  bool sharded;
};

// `stem`.safetensors, the index of its shards or `stem`.gguf; where the folder has none of them, those of its only
// variant, such as `stem`.fp16.safetensors. Throws eav::Error that says what is there instead, and what to do.
WeightFiles find_weight_files(const std::filesystem::path& folder, const std::string& stem);

// The same of the names of a folder's files: the file or index that is taken, or several variants where one is to be
// chosen; empty where none has weights.
std::vector<std::string> weights_among(const std::vector<std::string>& names, const std::string& stem);
// Those of the names that are shards of this index, by their names: "model-00001-of-00002.safetensors" of
// "model.safetensors.index.json".
std::vector<std::string> shards_among(const std::vector<std::string>& names, const std::string& index);
// Whether a file by this name holds all of its tensors: .safetensors or .gguf, and no shard.
bool is_single_file(const std::filesystem::path& file);

// The file of every key, as an index of shards tells. Throws eav::Error where it names one that is not beside it.
std::map<std::string, std::string> read_index(const JsonFile& index);

// How files of these names are told: they hold weights, but as pickled Python objects.
bool is_pickled(const std::filesystem::path& file);

}  // namespace eav
