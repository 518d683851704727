#include "cli/request_options.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>

#include "cli/options.h"

namespace eav {
namespace {

// Reads "1000,909.5,725".
std::vector<double> parse_timesteps(const std::string& list) {
  std::vector<double> timesteps;
  for (const auto& part : split(list)) {
    double value = 0;
    const auto* const end = part.data() + part.size();
    const auto [stop, error] = std::from_chars(part.data(), end, value);
    if (error != std::errc() || stop != end)
      throw CLI::ValidationError("--timesteps",
                                 fmt::format("'{}' does not work, expected numbers such as 1000,909,725", list));
    timesteps.push_back(value);
  }
  return timesteps;
}

}  // namespace

void add_request_options(CLI::App& command, Changes& changes) {
  const ChangeOptions add{command, changes};
  const auto integer = [](auto field) {
    return [=](Record& r, uint64_t v) { r.request.*field = static_cast<int64_t>(v); };
  };
  constexpr uint64_t kMost = std::numeric_limits<int32_t>::max();

  add.text("--model", "PATH", "Checkpoint folder, or LTX-Video's single file [the demo that ships with eav]",
           [](Record& r, const std::string& v) { r.paths.model = v; });
  add.text("--vae", "DIR", "Open-Sora, where --model is the transformer's folder: that of the VAE",
           [](Record& r, const std::string& v) { r.paths.vae = v; });
  add.text("--text-encoder", "DIR", "The same, or with a single file: that of the text encoder, T5, and the tokenizer",
           [](Record& r, const std::string& v) { r.paths.text_encoder = v; });
  add.text("--negative-prompt", "TEXT", "What the video should not show [nothing]",
           [](Record& r, const std::string& v) { r.request.negative_prompt = v; });
  add_whole(command, "--width", "Pixels [the checkpoint's]", 1, kMost, add.change(integer(&Request::width)));
  add_whole(command, "--height", "Pixels [the checkpoint's]", 1, kMost, add.change(integer(&Request::height)));
  add_whole(command, "--frames", "1 or 8k + 1, HunyuanVideo 4k + 1, Open-Sora 1 or from 17 on [the checkpoint's]", 1,
            kMost, add.change(integer(&Request::frames)));
  add_number(command, "--fps", "Frames a second [the checkpoint's: CogVideoX 8 or 16, LTX-Video 25, others 24]", 0.01,
             240, add.change([](Record& r, double v) { r.request.fps = v; }));
  add_whole(command, "--steps", "Denoising steps [the checkpoint's, else 50; Open-Sora 30]", 1, kMost,
            add.change(integer(&Request::steps)));
  add_number(command, "--guidance", "Guidance scale; at most 1: off [6; LTX-Video 3, Open-Sora 7, HunyuanVideo-I2V 1]",
             0, 1000, add.change([](Record& r, double v) { r.request.guidance = v; }));
  add_number(command, "--true-guidance",
             "HunyuanVideo: above 1, a second pass with --negative-prompt; --guidance is embedded [1]", 0, 1000,
             add.change([](Record& r, double v) { r.request.true_guidance = v; }));
  add.flag("--dynamic-guidance", "CogVideoX: guidance that grows over the steps",
           [](Record& r) { r.request.dynamic_guidance = true; });
  add.flag("--no-dynamic-guidance", "The same in all steps after all, with --from",
           [](Record& r) { r.request.dynamic_guidance = false; });
  add_choice(command, "--scheduler", "How noise is taken away [the checkpoint's]", {"ddim", "dpm", "euler"},
             add.change([](Record& r, const std::string& v) { r.request.scheduler = v; }));
  add_number(command, "--guidance-rescale", "LTX-Video: how far guidance keeps the spread of the result, 0 to 1 [0]", 0,
             1, add.change([](Record& r, double v) { r.request.guidance_rescale = v; }));
  add_number(command, "--decode-timestep", "LTX-Video from 0.9.1: timestep that the VAE is told, 0 to 1 [0.05]", 0, 1,
             add.change([](Record& r, double v) { r.request.decode_timestep = v; }));
  add_number(command, "--decode-noise-scale", "LTX-Video from 0.9.1: noise mixed in before the VAE, 0 to 1 [0.025]", 0,
             1, add.change([](Record& r, double v) { r.request.decode_noise_scale = v; }));
  add_number(command, "--flow-shift", "HunyuanVideo, LTX-Video: shift of the noise levels [the checkpoint's]", 0.001,
             1000, add.change([](Record& r, double v) { r.request.flow_shift = v; }));
  add.text("--timesteps", "LIST", "LTX-Video 0.9.5: the steps by their timesteps, such as 1000,909,725 [--steps]",
           [](Record& r, const std::string& v) { r.request.timesteps = parse_timesteps(v); });
  add_number(command, "--image-cond-noise-scale",
             "LTX-Video 0.9.5: noise on conditions of strength 1 while denoising, 0 to 1 [0.15]", 0, 1,
             add.change([](Record& r, double v) { r.request.image_cond_noise_scale = v; }));
  add_choice(command, "--image-fit",
             "How a picture of another shape comes to the video's size [stretch; Open-Sora crop]", {"stretch", "crop"},
             add.change([](Record& r, const std::string& v) { r.request.image_fit = parse_image_fit(v); }));
  add.text("--resolution", "NAME", "Open-Sora: 144p, 240p, 360p, 480p, 720p, 1080p, 2k or 4k, with --aspect [240p]",
           [](Record& r, const std::string& v) { r.request.resolution = v; });
  add.text("--aspect", "H:W", "Open-Sora: height to width, such as 9:16, 3:4 or 1:1 [9:16]",
           [](Record& r, const std::string& v) { r.request.aspect = v; });
  add.text("--length", "NAME", "Open-Sora: 2s, 4s, 8s or 16s, at 24 fps [2s]",
           [](Record& r, const std::string& v) { r.request.length = v; });
  add_whole(command, "--loop", "Open-Sora: clips to join, each going on from the end of the one before [1]", 1, 1000,
            add.change([](Record& r, uint64_t v) { r.request.loop = static_cast<int64_t>(v); }));
  add_number(command, "--aesthetic-score", "Open-Sora: written after the prompt [6.5]", 0, 100,
             add.change([](Record& r, double v) { r.request.aesthetic_score = v; }));
  add_number(command, "--motion-score", "Open-Sora: the same, how much moves [none]", 0, 100,
             add.change([](Record& r, double v) { r.request.motion_score = v; }));
  add.text("--camera-motion", "TEXT", "Open-Sora: the same, such as 'pan left' [none]",
           [](Record& r, const std::string& v) { r.request.camera_motion = v; });
  add.flag("--no-clean-prompt", "Open-Sora: keep links, tags, numbers and signs in the prompt",
           [](Record& r) { r.request.clean_prompt = false; });
  add.text("--device", "DEVICE", "cpu, cuda or cuda:N [cpu]",
           [](Record& r, const std::string& v) { r.runtime.device = v; });
  add_whole(command, "--threads", "Threads on the CPU [as many as there are cores]", 1, 4096,
            add.change([](Record& r, uint64_t v) { r.runtime.threads = static_cast<int>(v); }));
  add_choice(command, "--dtype", "Type to compute in [auto: float32 on a CPU where it fits, else bfloat16]",
             {"auto", "float32", "bfloat16", "float16"},
             add.change([](Record& r, const std::string& v) { r.runtime.dtype = parse_dtype(v); }));
  add_choice(command, "--vae-tiling",
             "Decode in tiles: less memory, another picture [off; HunyuanVideo: auto, where needed]",
             {"auto", "on", "off"},
             add.change([](Record& r, const std::string& v) { r.request.vae_tiling = parse_vae_tiling(v); }));
  add.flag("--vae-framewise", "LTX-Video: decode in parts of 17 frames: less memory, another picture",
           [](Record& r) { r.request.vae_framewise = true; });
  add.flag("--offload", "Load blocks one at a time, each when it is used: slower, in little memory",
           [](Record& r) { r.runtime.offload = true; });

  add_number(command, "--enhance-start", "Enhance from this fraction of the steps [0]", 0, 1,
             add.change([](Record& r, double v) { r.request.enhance.start = v; }));
  add_number(command, "--enhance-end", "Enhance up to this fraction of the steps [1]", 0, 1,
             add.change([](Record& r, double v) { r.request.enhance.end = v; }));
  add.text("--enhance-layers", "LIST", "Transformer layers to enhance, such as 0-5,8 [all]",
           [](Record& r, const std::string& v) { r.request.enhance.layers = LayerSet::parse(v); });

  add_choice(command, "--enhance-blocks", "HunyuanVideo: blocks to enhance, of two streams or one [all]",
             {"double", "single", "all"},
             add.change([](Record& r, const std::string& v) { r.request.enhance.blocks = parse_enhance_blocks(v); }));
}

}  // namespace eav
