// One forward pass of HunyuanVideo's transformer.
#include "bench.h"
#include "enhance/enhancer.h"
#include "models/hunyuan_video/transformer.h"
#include "weights/safetensors.h"

namespace eav::bench {

std::function<void()> hunyuan_video(const Arguments& arguments) {
  const auto& folder = arguments.at(0);
  const SafetensorsFile inputs(arguments.at(1));
  const auto type = Arguments::type_of(arguments.at(2));
  const bool enhanced = arguments.at(3) == "on";
  const int64_t real_tokens = std::stol(arguments.at(4));

  const auto config = hunyuan_video::TransformerConfig::read(JsonFile(folder + "/config.json"));
  const auto checkpoint = Checkpoint::open(folder, "diffusion_pytorch_model", arguments.policy(arguments.at(2)));
  const auto model = std::make_shared<hunyuan_video::Transformer>(Weights(checkpoint), config);
  const auto input = [&](const char* name) { return inputs.view(inputs.entries().at(name)).to(type); };
  const auto latents = input("latents");
  const hunyuan_video::Transformer::Caption caption{input("text").slice(1, 0, real_tokens), input("pooled")};
  return [=] {
    const auto prepared = model->prepare(latents.size(2), latents.size(3), latents.size(4), at::kCPU);
    Enhancer enhancer({.enabled = enhanced, .weight = 4}, 1, config.layers());
    const Progress progress;
    Step step{prepared.grid, enhancer, progress};
    (*model)(latents, at::full({1}, 500.0), 6, caption, prepared, step);
  };
}

}  // namespace eav::bench
