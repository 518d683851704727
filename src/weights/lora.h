// Fits LoRAs to the tensors of a model's part: finds the layers that they are for, whatever they are called.
#pragma once
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "weights/lora_file.h"
#include "weights/original_names.h"
#include "weights/patches.h"
#include "weights/weights.h"

namespace eav {

// The layers of a part by their names: this project's, and those of a table of another writer; each also with '_' in
// the place of '.', as some files have them.
class LayerNames {
 public:
  // `original` may be nullptr; `channels` are the model's.
  LayerNames(const Checkpoint& part, const KeyTable* original, int64_t channels);

  // The layers, or rows of layers, that are called so, by this project's names without ".weight"; nullptr where none
  // is.
  const std::vector<NamedRows>* find(const std::string& name) const;

 private:
  std::map<std::string, std::vector<NamedRows>> by_name_;
};

// What a LoRA changes of a part.
struct LoraFit {
  size_t layers = 0, tensors = 0;  // layers of the file that are applied, and its tensors for them
  std::map<std::string, std::vector<std::string>> left_out;  // tensors of the file that are not, by the reason
};

// Adds a LoRA's changes, times `strength`, to the patches of a part. Throws eav::Error where a layer of that name has
// another size.
LoraFit fit(const LoraFile& lora, double strength, const Checkpoint& part, const LayerNames& names, Patches& patches);

}  // namespace eav
