// eav evaluate: measures videos.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "eav/generator.h"
#include "eav/measures.h"
#include "eav/video.h"
#include "errors.h"
#include "files.h"
#include "printable.h"

namespace eav {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct EvaluateOptions {
  std::vector<fs::path> videos;
  fs::path reference, json;
  bool overwrite = false;
};

struct Evaluation {
  fs::path video;
  VideoSize size;
  Measures measures;
  std::optional<Fidelity> fidelity;
};

// Reads videos of any length frame by frame.
Evaluation evaluate(const fs::path& video, const fs::path& reference) {
  VideoReader frames(video);
  std::optional<VideoReader> references;
  if (!reference.empty()) references.emplace(reference);
  VideoMeter meter;
  FidelityMeter fidelity;
  VideoSize size{};
  int64_t in_reference = 0;
  const auto named = [&](const auto& work) { return naming(fmt::format("'{}': ", video.string()), work); };
  for (auto frame = frames.next(); frame.defined(); frame = frames.next()) {
    size = {size.frames + 1, frame.size(0), frame.size(1)};
    const auto other = references ? references->next() : at::Tensor();
    in_reference += other.defined() ? 1 : 0;
    if (references && in_reference != size.frames) continue;  // only counted from here on
    named([&] {
      meter.add(frame);
      if (references) fidelity.add(frame, other);
    });
  }
  while (references && references->next().defined()) ++in_reference;
  return named([&] {
    if (!references) return Evaluation{video, size, meter.result(), std::nullopt};
    if (in_reference != size.frames)
      throw Error(
          fmt::format("{} frames against a reference of {} frames: expected as many", size.frames, in_reference));
    return Evaluation{video, size, meter.result(), fidelity.result()};
  });
}

std::string shown(const std::optional<double>& value, int decimals) {
  if (!value) return "-";
  return std::isinf(*value) ? "equal" : fmt::format("{:.{}f}", *value, decimals);
}

// A row a measure, a column a video.
void print_table(const std::vector<Evaluation>& evaluations) {
  const auto row = [&](const std::string& label, const std::string& better, auto cell) {
    print_text("{:<26}{:<8}", label, better);
    for (const auto& evaluation : evaluations) print_text("{:>18}", cell(evaluation));
    print_text("\n");
  };
  row("", "better", [](const Evaluation& e) {
    auto name = e.video.filename().string();
    if (name.size() <= 17) return name;
    auto begin = name.size() - 16;
    while (begin < name.size() && (name[begin] & 0xC0) == 0x80) ++begin;  // not within a character
    return "…" + name.substr(begin);
  });
  for (const auto& measure : all_measures()) {
    const auto better = measure.better == Better::more ? "more" : measure.better == Better::less ? "less" : "";
    row(measure.label, better, [&](const Evaluation& e) { return shown(measure.of(e.measures), measure.decimals); });
  }
  if (!evaluations[0].fidelity) return;
  row("PSNR to the reference", "more", [](const Evaluation& e) { return shown(e.fidelity->psnr, 2); });
  row("SSIM to the reference", "more", [](const Evaluation& e) { return shown(e.fidelity->ssim, 4); });
}

std::string to_json(const std::vector<Evaluation>& evaluations, const fs::path& reference) {
  Json json{{"videos", Json::array()}};
  if (!reference.empty()) json["reference"] = reference.string();
  for (const auto& [video, size, measures, fidelity] : evaluations) {
    Json one{{"file", video.string()}, {"frames", size.frames}, {"height", size.height}, {"width", size.width}};
    for (const auto& measure : all_measures()) {
      const auto value = measure.of(measures);
      one["measures"][measure.name] = value ? Json(*value) : Json(nullptr);
    }
    if (fidelity)  // JSON has no infinity: the PSNR of equal videos is null
      one["reference"] = {{"psnr", std::isinf(fidelity->psnr) ? Json(nullptr) : Json(fidelity->psnr)},
                          {"ssim", fidelity->ssim}};
    json["videos"].push_back(std::move(one));
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

int run(const EvaluateOptions& options) {
  if (!options.json.empty()) check_file(options.json, options.overwrite);
  std::vector<Evaluation> evaluations;
  for (const auto& video : options.videos) evaluations.push_back(evaluate(video, options.reference));
  print_table(evaluations);
  if (!options.json.empty()) write_file(options.json, to_json(evaluations, options.reference));
  return 0;
}

}  // namespace

Command add_evaluate(CLI::App& program) {
  auto& command = *program.add_subcommand("evaluate", "Measure videos, without a learned model");
  const auto options = std::make_shared<EvaluateOptions>();
  command.add_option("VIDEO", options->videos, "Videos that FFmpeg can read")->type_name("")->required();
  command
      .add_option("--reference", options->reference,
                  "Video of the same size and length to compare the others with: PSNR and SSIM")
      ->type_name("FILE");
  command.add_option("--json", options->json, "Write the measures to this .json file too")->type_name("FILE");
  command.add_flag("--overwrite", options->overwrite, "Replace a file that exists");
  return {&command, [options] { return run(*options); }};
}

}  // namespace eav
