// Keys of Wan's own files, which ComfyUI's have too, in this project's names.
#pragma once
#include <string>
#include <vector>

#include "weights/original_names.h"

namespace eav::wan {

// The transformer's, and the autoencoder's: 2.2's, whose blocks are `residual`, or 2.1's. Keys that are this project's
// already stay as they are, as do those that no Wan has.
const KeyTable& transformer_table();
const KeyTable& vae_table(bool residual);

std::vector<NamedRows> transformer_names(const std::string& key);
std::vector<NamedRows> vae_names(const std::string& key, bool residual);

}  // namespace eav::wan
