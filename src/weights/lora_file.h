// Files of LoRAs, of every writer: the changes that they hold, by the names that their writers give to layers.
#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eav/lora.h"
#include "weights/patches.h"
#include "weights/safetensors.h"

namespace eav {

// What a LoRA changes of one layer.
struct LoraLayer {
  std::string name;  // the writer's, without what files put before it: "blocks.0.attn1.to_q", "blocks_0_self_attn_q"
  std::optional<Delta> weight = {}, bias = {};
  Tensor magnitude = {};                               // of a DoRA: [rows, 1] or [1, columns]
  std::vector<std::string> keys = {}, bias_keys = {};  // of the file, that weight and bias are made of
};

class LoraFile {
 public:
  // Maps the file; its tensors stay in it. Throws eav::Error that names the file where it is no LoRA, or where a layer
  // lacks a part or has parts that do not fit each other.
  explicit LoraFile(const std::filesystem::path& path);

  // Whether a file holds changes and not weights, by its keys.
  static bool is_lora(const SafetensorsFile& file);

  const std::filesystem::path& path() const { return path_; }
  const std::vector<LoraLayer>& layers() const { return layers_; }
  // Keys that are changes of no layer, by the reason.
  const std::map<std::string, std::vector<std::string>>& left_over() const { return left_over_; }
  LoraInfo info() const;

 private:
  std::filesystem::path path_;
  std::string writer_;
  std::vector<LoraLayer> layers_;
  std::map<std::string, std::vector<std::string>> left_over_;
};

}  // namespace eav
