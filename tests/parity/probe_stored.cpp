// eav_probe tensors FILE --out FOLDER > table.json: every tensor of a file of tensors in float32, once for every
// instruction set of this machine, and what the file's header says.
#include <ATen/ATen.h>

#include <filesystem>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/targets.h"
#include "weights/safetensors.h"
#include "weights/weights.h"
// After targets.h.
#include <hwy/targets.h>

void tensors(const std::vector<std::string>& arguments) {
  const std::filesystem::path file = arguments.at(0), out = arguments.at(2);
  const auto checkpoint = eav::Checkpoint::open(eav::CheckpointSource{.path = file}, {});
  for (auto rest = hwy::SupportedTargets() & HWY_TARGETS; rest != 0; rest &= rest - 1) {
    hwy::SetSupportedTargetsForTest(rest & -rest);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    std::map<std::string, at::Tensor> values;
    for (const auto& [key, place] : checkpoint.index())
      if (at::isFloatingType(place.second.dtype) || place.second.packing() || key.ends_with("weight"))
        values[key] = checkpoint.load(key).clone();
    eav::save_safetensors(out / (std::string(hwy::TargetName(rest & -rest)) + ".safetensors"), values);
    hwy::SetSupportedTargetsForTest(0);
  }
  const eav::TensorFile table(file);
  nlohmann::json shown{{"types", nlohmann::json::object()}, {"values", nlohmann::json::object()}};
  for (const auto& [key, entry] : table.entries()) shown["types"][key] = entry.type_name();
  for (const auto& [key, value] : table.values()) std::visit([&](const auto& v) { shown["values"][key] = v; }, value);
  std::cout << shown;
}
