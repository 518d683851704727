// Keys of LTX-Video's own files, which ComfyUI's have too, in this project's names.
#pragma once
#include <string>
#include <vector>

#include "weights/original_names.h"

namespace eav::ltx_video {

// Releases that differ in their keys. What came between is like the one before it.
enum class Release {
  v090,
  v091,  // the VAE's decoder is told a timestep
  v095,  // new blocks in the VAE's encoder
  v097,  // 13B: 48 transformer blocks
};

// The transformer's, for LoRAs that call layers so.
const std::vector<KeyGroup>& original_table();

// Of the transformer. Other keys stay as they are.
std::vector<NamedRows> transformer_names(const std::string& key);

// Of the autoencoder; nothing for statistics that nothing is computed from.
std::vector<NamedRows> vae_names(const std::string& key, Release release);

}  // namespace eav::ltx_video
