// A text encoder of T5's kind alone.
#include "text/t5.h"

#include <filesystem>
#include <memory>

#include "bench.h"
#include "weights/safetensors.h"

namespace eav::bench {

std::function<void()> t5(const Arguments& arguments) {
  const SafetensorsFile file(arguments.at(1));
  const auto ids = file.view(file.entries().at("ids"));
  const auto type = Arguments::type_of(arguments.at(2));
  auto encoder =
      std::make_shared<Part<T5Encoder>>(T5Encoder::part(PartSource::of_transformers(arguments.at(0), "text_encoder")));
  encoder->place({.device = at::kCPU, .compute = type, .storage = type});
  return [=] { (**encoder)(ids, std::nullopt, type, {}); };
}

}  // namespace eav::bench
