#include <algorithm>
#include <filesystem>
#include <memory>

#include "bench.h"
#include "models/cogvideox/vae.h"
#include "models/hunyuan_video/vae.h"
#include "models/wan/vae.h"

namespace eav::bench {
namespace {

template <class Vae>
std::function<void()> decoding(const Checkpoint& checkpoint, const auto& config, const Tensor& latents, bool tiling) {
  return [=, vae = std::make_shared<Vae>(Weights(checkpoint), config)] {
    Progress progress;
    vae->decode(latents, tiling, progress);
  };
}

}  // namespace

std::function<void()> vae_decode(const Arguments& arguments) {
  const std::filesystem::path dir = arguments.at(0);
  const SafetensorsFile file(arguments.at(1));
  const auto asked = [&](const char* flag) { return std::ranges::find(arguments, flag) != arguments.end(); };
  const bool tiling = asked("--tiling");
  const auto type = asked("--bfloat16") ? at::kBFloat16 : at::kFloat;
  const auto latents = file.view(file.entries().at("latents")).to(type);
  const auto checkpoint = Checkpoint::open(dir, "diffusion_pytorch_model", {.dtype = type});
  const JsonFile config(dir / "config.json");
  if (config.get<std::string>("_class_name") == "AutoencoderKLHunyuanVideo")
    return decoding<hunyuan_video::Vae>(checkpoint, hunyuan_video::VaeConfig::read(config), latents, tiling);
  if (config.get<std::string>("_class_name") == "AutoencoderKLWan")
    return decoding<wan::Vae>(checkpoint, wan::VaeConfig::read(config), latents, tiling);
  return decoding<cogvideox::Vae>(checkpoint, cogvideox::VaeConfig::read(config), latents, tiling);
}

}  // namespace eav::bench
