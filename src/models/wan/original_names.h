// Keys of Wan's own files, which ComfyUI's have too, in this project's names.
#pragma once
#include <string>
#include <vector>

#include "weights/original_names.h"

namespace eav::wan {

// The transformer's, for LoRAs that call layers so.
const std::vector<KeyGroup>& original_table();

// Of the transformer. Keys that are this project's already stay as they are, as do those that no Wan has.
std::vector<NamedRows> transformer_names(const std::string& key);

// Of the autoencoders, 2.1's and 2.2's, whose encoders have `resnets` residual blocks on a level. Others stay too.
std::vector<NamedRows> vae_names(const std::string& key, int64_t resnets = 2);

}  // namespace eav::wan
