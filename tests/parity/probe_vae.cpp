// eav_probe vae DIR --latents FILE --out FILE [--tiling] [--storage TYPE] [--timestep T] [--seed N]: decodes the tensor
// "latents" with the autoencoder in DIR, computing in float32, and writes the tensor "video". LTX-Video's is told the
// timestep, the same for every video, and the seed of the noise that it injects; the latents are de-normalised first.
// With --video FILE instead of --latents FILE it encodes the tensor "video", and writes "mean", and LTX-Video's "std".
//
// eav_probe latent-upsampler PATH --latents FILE --out FILE [--adain FACTOR] [--tones COMPRESSION]: LTX-Video's, a file
// or a folder, on the tensor "latents"; writes "upsampled", and what AdaIN and tone mapping make of that.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "models/cogvideox/vae.h"
#include "models/hunyuan_video/vae.h"
#include "models/hunyuan_video/vae_encoder.h"
#include "models/ltx_video/latent_upsampler.h"
#include "models/ltx_video/single_file.h"
#include "models/ltx_video/vae.h"
#include "models/ltx_video/vae_encoder.h"
#include "models/wan/vae.h"
#include "models/wan/vae_encoder.h"
#include "weights/placement.h"
#include "weights/safetensors.h"

namespace {

// What is not said to every family.
struct Conditions {
  std::optional<at::Tensor> timestep;  // [B]
  std::optional<at::Generator> generator;
  bool framewise = false;
};

void encode(const eav::JsonFile& config, const at::Tensor& video, const eav::ltx_video::Tiles& tiles,
            const std::filesystem::path& out) {
  const auto checkpoint =
      eav::Checkpoint::open(config.path().parent_path(), "diffusion_pytorch_model", {.device = video.device()});
  const eav::Weights weights(checkpoint);
  if (config.get<std::string>("_class_name") == "AutoencoderKLHunyuanVideo") {
    const eav::hunyuan_video::VaeEncoder encoder(weights, eav::hunyuan_video::VaeConfig::read(config));
    checkpoint.check_all_read(eav::hunyuan_video::VaeEncoder::unneeded_keys());
    return eav::save_safetensors(out, {{"mean", encoder(video, tiles.space, {})}});
  }
  if (config.get<std::string>("_class_name") == "AutoencoderKLWan") {
    const eav::wan::VaeEncoder encoder(weights, eav::wan::VaeConfig::read(config));
    checkpoint.check_all_read(eav::wan::VaeEncoder::unneeded_keys());
    eav::Progress progress;
    return eav::save_safetensors(out, {{"mean", encoder.encode(video, tiles.space, progress)}});
  }
  const eav::ltx_video::VaeEncoder encoder(weights, eav::ltx_video::VaeEncoderConfig::read(config));
  checkpoint.check_all_read(eav::ltx_video::VaeEncoder::unneeded_keys());
  const auto [mean, std] = encoder(video, tiles, {});
  eav::save_safetensors(out, {{"mean", mean.contiguous()}, {"std", std.contiguous()}});
}

template <class Vae, class VaeConfig>
at::Tensor decode(const eav::JsonFile& config, at::ScalarType storage, const at::Tensor& latents, bool tiling,
                  const Conditions& conditions) {
  const auto checkpoint = eav::Checkpoint::open(config.path().parent_path(), "diffusion_pytorch_model",
                                                {.dtype = storage, .device = latents.device()});
  const Vae vae(eav::Weights(checkpoint), VaeConfig::read(config));
  checkpoint.check_all_read(Vae::unneeded_keys());
  eav::Progress progress;
  if constexpr (std::is_same_v<Vae, eav::ltx_video::Vae>)
    return vae.decode(vae.denormalize(latents), conditions.timestep, {tiling, conditions.framewise},
                      conditions.generator, progress);
  else
    return vae.decode(latents, tiling, progress);
}

std::string option_of(const std::vector<std::string>& arguments, const std::string& name, const std::string& fallback) {
  const auto found = std::ranges::find(arguments, "--" + name);
  return found == arguments.end() || found + 1 == arguments.end() ? fallback : found[1];
}

}  // namespace

void latent_upsampler(const std::vector<std::string>& arguments) {
  const auto source = eav::ltx_video::find_latent_upsampler(arguments.at(0)).value();
  const auto checkpoint = eav::Checkpoint::open(source.tensors, {});
  const eav::ltx_video::LatentUpsampler upsampler(eav::Weights(checkpoint),
                                                  eav::ltx_video::UpsamplerConfig::read(source.config));
  checkpoint.check_all_read();
  const eav::SafetensorsFile file(option_of(arguments, "latents", ""));
  const auto latents = file.view(file.entries().at("latents"));
  const auto upsampled = upsampler(latents, {});
  const auto number = [&](const char* name) { return std::stod(option_of(arguments, name, "0")); };
  eav::save_safetensors(option_of(arguments, "out", ""),
                        {{"upsampled", upsampled},
                         {"adain", eav::ltx_video::adain(upsampled, latents, number("adain"))},
                         {"tones", eav::ltx_video::tone_mapped(upsampled, number("tones"))}});
}

void vae(const std::vector<std::string>& arguments) {
  const auto option = [&](const std::string& name, const std::string& fallback) {
    return option_of(arguments, name, fallback);
  };
  const std::filesystem::path dir = arguments.at(0);
  const auto device = eav::parse_device(option("device", "cpu"));
  const auto storage = option("storage", "float32");
  const auto type = storage == "float16" ? at::kHalf : storage == "bfloat16" ? at::kBFloat16 : at::kFloat;
  const bool tiling = std::ranges::find(arguments, "--tiling") != arguments.end();
  const bool framewise = std::ranges::find(arguments, "--framewise") != arguments.end();
  if (const auto video = option("video", ""); !video.empty()) {
    const eav::SafetensorsFile file(video);
    return encode(eav::JsonFile(dir / "config.json"), file.view(file.entries().at("video")).to(device),
                  {tiling, framewise}, option("out", ""));
  }
  const eav::SafetensorsFile file(option("latents", ""));
  const auto latents = file.view(file.entries().at("latents")).to(device);

  Conditions conditions{.timestep = {}, .generator = {}, .framewise = framewise};
  if (const auto timestep = option("timestep", ""); !timestep.empty())
    conditions.timestep = at::full({latents.size(0)}, std::stod(timestep), latents.options());
  if (const auto seed = option("seed", ""); !seed.empty())
    conditions.generator = at::detail::createCPUGenerator(std::stoull(seed));

  const eav::JsonFile config(dir / "config.json");
  const auto name = config.get<std::string>("_class_name");
  auto* family = decode<eav::cogvideox::Vae, eav::cogvideox::VaeConfig>;
  if (name == "AutoencoderKLHunyuanVideo") family = decode<eav::hunyuan_video::Vae, eav::hunyuan_video::VaeConfig>;
  if (name == "AutoencoderKLWan") family = decode<eav::wan::Vae, eav::wan::VaeConfig>;
  if (name == "AutoencoderKLLTXVideo") family = decode<eav::ltx_video::Vae, eav::ltx_video::VaeConfig>;
  eav::save_safetensors(option("out", ""), {{"video", family(config, type, latents, tiling, conditions)}});
}
