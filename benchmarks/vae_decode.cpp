#include <filesystem>
#include <memory>

#include "bench.h"
#include "models/cogvideox/vae.h"

namespace eav::bench {

std::function<void()> vae_decode(const Arguments& arguments) {
  const std::filesystem::path dir = arguments.at(0);
  const SafetensorsFile file(arguments.at(1));
  const auto latents = file.view(file.entries().at("latents"));
  const bool tiling = arguments.size() > 2 && arguments[2] == "--tiling";
  const auto checkpoint = Checkpoint::open(dir, "diffusion_pytorch_model", {});
  const auto config = cogvideox::VaeConfig::read(JsonFile(dir / "config.json"));
  const auto vae = std::make_shared<cogvideox::Vae>(Weights(checkpoint), config);
  return [=] {
    Progress progress;
    vae->decode(latents, tiling, progress);
  };
}

}  // namespace eav::bench
