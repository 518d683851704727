// Keys of HunyuanVideo's own files and of ComfyUI's, in this project's names.
#pragma once
#include <string>
#include <vector>

#include "weights/original_names.h"

namespace eav::hunyuan_video {

// The transformer's, for LoRAs that call layers so.
const std::vector<KeyGroup>& original_table();

// Of the transformer, which has so many channels. Queries, keys and values are one tensor there, in single-stream
// blocks with the feed-forward layer's; of the last modulation, scale and shift change places. Other
// keys stay as they are.
std::vector<NamedRows> transformer_names(const std::string& key, int64_t channels);

// Of the autoencoder, as ComfyUI writes it; the original's keys are this project's, which stay.
std::vector<NamedRows> vae_names(const std::string& key);

}  // namespace eav::hunyuan_video
