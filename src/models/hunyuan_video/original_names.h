// Keys of HunyuanVideo's own files and of ComfyUI's, in this project's names.
#pragma once
#include <string>
#include <vector>

#include "weights/original_names.h"

namespace eav::hunyuan_video {

// The transformer's. Queries, keys and values are one tensor there, in single-stream blocks with the feed-forward
// layer's; of the last modulation, scale and shift change places. Keys that are this project's already stay as they
// are.
const KeyTable& transformer_table();
// The autoencoder's, as ComfyUI writes it; the original's keys are this project's, which stay.
const KeyTable& vae_table();

// `channels` are the transformer's.
std::vector<NamedRows> transformer_names(const std::string& key, int64_t channels);
std::vector<NamedRows> vae_names(const std::string& key);

}  // namespace eav::hunyuan_video
