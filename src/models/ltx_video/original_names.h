// Keys of LTX-Video's own files, which ComfyUI's have too, in this project's names.
#pragma once
#include <string>
#include <vector>

#include "weights/config.h"
#include "weights/original_names.h"

namespace eav::ltx_video {

// Releases that differ in their keys. What came between is like the one before it.
enum class Release {
  v090,
  v091,  // the VAE's decoder is told a timestep
  v095,  // new blocks in the VAE's encoder
  v097,  // 13B: 48 transformer blocks
};

// Of a VAE by its configuration, as diffusers writes it: v090, v091 or v095.
Release release_of(const JsonFile& vae);

// The transformer's, whose keys that are this project's already stay as they are, and the autoencoder's, whose blocks
// have other numbers.
const KeyTable& transformer_table();
const KeyTable& vae_table(Release release);

std::vector<NamedRows> transformer_names(const std::string& key);
// Nothing for statistics that nothing is computed from.
std::vector<NamedRows> vae_names(const std::string& key, Release release);

}  // namespace eav::ltx_video
