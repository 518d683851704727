// What a user asks for: one video.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace eav {

// Transformer layers by number, as `--enhance-layers 0-5,8` names them.
struct LayerSet {
  struct Range {
    int64_t first, last;  // both included, 0 <= first <= last
    bool operator==(const Range&) const = default;
  };
  std::vector<Range> ranges;  // empty: every layer

  // Reads "0-5,8". Throws eav::Error that quotes the text when it is no such list.
  static LayerSet parse(const std::string& text);
  std::string str() const;
  bool contains(int64_t layer) const;
  // Those of first..last that are in this set. Throws eav::Error when none is.
  LayerSet within(int64_t first, int64_t last) const;
  bool operator==(const LayerSet&) const = default;
};

// HunyuanVideo has dual-stream blocks, in which video and caption have weights of their own, and single-stream blocks.
enum class EnhanceBlocks { all, dual, single };
// "all", "double", "single"; throws eav::Error that lists them.
EnhanceBlocks parse_enhance_blocks(const std::string& name);
std::string to_string(EnhanceBlocks blocks);

// Enhance-A-Video (arXiv 2502.07508): the attention output of a layer is scaled by max(1, CFI * (T + weight)).
struct EnhanceOptions {
  bool enabled = true;
  std::optional<double> weight;  // 0 to 100; unset: the family's own
  bool adaptive = false;         // instead, a weight for each step by the video's own CFI: see docs/adaptive.md
  double start = 0, end = 1;     // step i of N is enhanced when start*N <= i < end*N; 0 <= start < end <= 1
  LayerSet layers{};
  EnhanceBlocks blocks = EnhanceBlocks::all;  // of the layers, those in these blocks
  bool maps = false;                          // keep attention maps in the trace; the video is the same
  bool operator==(const EnhanceOptions&) const = default;
};

// The type that a model computes in.
enum class Dtype { automatic, float32, bfloat16, float16 };
// "auto", "float32", "bfloat16", "float16"; throws eav::Error that lists them.
Dtype parse_dtype(const std::string& name);
std::string to_string(Dtype dtype);

// Whether latents are decoded in tiles, which takes less memory and makes another picture; `automatic`: where memory
// does not suffice otherwise.
enum class VaeTiling { automatic, on, off };
// "auto", "on", "off"; throws eav::Error that lists them.
VaeTiling parse_vae_tiling(const std::string& name);
std::string to_string(VaeTiling tiling);

// Where and how a model runs; the same for all videos of one Generator.
struct Runtime {
  std::string device = "cpu";  // "cpu", "cuda" or "cuda:N"
  Dtype dtype = Dtype::automatic;
  int threads = 0;       // 0: as many as there are cores
  bool offload = false;  // load the blocks of a model one at a time, each when it is used: slower, in little memory
};

// A picture or clip that the video shows, or sets out from. Which ones a checkpoint takes is its family's matter.
struct Condition {
  std::filesystem::path file;
  bool is_video = false;               // all of its frames count, not one
  std::optional<int64_t> frame_index;  // of the video, where the condition begins; negative: from the end; unset: 0
  std::optional<double> strength;      // 0 to 1, how closely the video follows it; unset: 1
  bool operator==(const Condition&) const = default;
};

// How a picture of another shape comes to the video's size.
enum class ImageFit {
  stretch,  // to that size
  crop,     // with its own aspect, until it covers the video, whose middle is kept
};
// "stretch", "crop"; throws eav::Error that lists them.
ImageFit parse_image_fit(const std::string& name);
std::string to_string(ImageFit fit);

// Unset fields take the checkpoint's defaults (its eav.json, else its configuration): see Generator::resolve.
struct Request {
  std::string prompt;                          // UTF-8
  std::optional<std::string> negative_prompt;  // UTF-8; counts where guidance is above 1
  std::optional<uint64_t> seed;
  std::optional<int64_t> width, height;  // pixels
  std::optional<int64_t> frames;         // of the video, not of the latents
  std::optional<double> fps;
  std::optional<int64_t> steps;
  std::optional<double> guidance;        // guidance scale; at most 1 turns guidance off. HunyuanVideo: embedded
  std::optional<double> true_guidance;   // HunyuanVideo: above 1, a second pass with the negative prompt
  bool dynamic_guidance = false;         // CogVideoX's cosine schedule of the guidance scale
  std::optional<std::string> scheduler;  // CogVideoX: "ddim" or "dpm"; HunyuanVideo and LTX-Video: "euler"
  std::optional<double> flow_shift;      // flow matching: how far noise levels are shifted towards 1, above 0
  std::optional<VaeTiling> vae_tiling;
  bool vae_framewise = false;  // LTX-Video: decode in parts of 17 frames, blended: less memory, another picture
  std::optional<double> guidance_rescale;        // LTX-Video: 0 to 1, how far the guided result keeps its spread
  std::optional<double> decode_timestep;         // LTX-Video, where the VAE is told a timestep: 0 to 1
  std::optional<double> decode_noise_scale;      // and how much noise is mixed into the latents for it: 0 to 1
  std::vector<double> timesteps;                 // LTX-Video 0.9.5 on: the steps, from 1000 downwards
  std::optional<double> denoise_strength;        // and 0 to 1, how much of the steps are taken from init_latents
  std::optional<double> image_cond_noise_scale;  // and noise on what is kept whole, 0 to 1
  std::vector<Condition> conditions;
  std::optional<ImageFit> image_fit;
  // Open-Sora
  std::optional<std::string> resolution, aspect, length;  // names such as "240p", "9:16" (height:width) and "2s", in
                                                          // whose place resolve() puts height, width and frames
  bool clean_prompt = true;                               // as the model's training captions were
  std::optional<double> aesthetic_score, motion_score;    // written after the prompt, 0 to 100
  std::optional<std::string> camera_motion;               // the same, such as "pan left"
  int64_t loop = 1;                                       // clips, each going on from the end of the one before
  bool latents_only = false;                              // stop before the VAE
  EnhanceOptions enhance;
  std::filesystem::path init_latents;  // a .safetensors file with "latents": the noise to start from, or the
                                       // latents that a denoise strength below 1 changes
  bool operator==(const Request&) const = default;
};

}  // namespace eav
