#include "eav/record.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace eav {
namespace {

namespace fs = std::filesystem;

Record example() {
  Record record{
      {.model = "/models/some",
       .text_encoder = "/models/t5",
       .loras = {{"/loras/a:b.safetensors", 0.8, Lora::Expert::low}}},
      "0123456789abcdef",
      {"cuda:1", Dtype::bfloat16, {{"vae", Dtype::float32}}, Quantize::int8, {{"text_encoder", Quantize::none}}, 3},
      {"0.1.0", "2.13.0", "abacus", "a GPU, driver 1, CUDA 13.0"},
      {},
      ""};
  auto& request = record.request;
  request.prompt = "ein \"rotes\" Quadrat, größer\nals zuvor";
  request.negative_prompt = "blur";
  request.seed = 18446744073709551615u;  // above what a signed number holds
  request.width = 96, request.height = 64, request.frames = 9, request.steps = 30;
  request.fps = 23.976, request.guidance = 0.1;
  request.latents_only = true;
  request.scheduler = "dpm";
  request.enhance = {.enabled = false,
                     .weight = 7.3,
                     .adaptive = true,
                     .start = 1.0 / 3,
                     .end = 2.0 / 3,
                     .layers = LayerSet::parse("0-5,8")};
  request.settings = {{"dynamic_guidance", true}, {"vae_tiling", "on"}, {"enhance_blocks", "double"}};
  return record;
}

class RecordTest : public testing::Test {
 protected:
  RecordTest() { fs::create_directory(folder_); }
  ~RecordTest() override { fs::remove_all(folder_); }

  fs::path write(const std::string& text) const {
    std::ofstream(folder_ / "r.json") << text;
    return folder_ / "r.json";
  }

  fs::path folder_ = fs::temp_directory_path() / ("eav-record-" + std::to_string(getpid()));
};

TEST_F(RecordTest, ComesBackAsItWasWritten) {
  const auto text = to_json(example(), Trace{});
  const auto read = read_record(write(text));
  EXPECT_EQ(to_json(read, Trace{}), text);
  EXPECT_EQ(read.request.seed, example().request.seed);
  EXPECT_EQ(read.request.enhance.start, 1.0 / 3);
  EXPECT_TRUE(differences(read, example()).empty());
}

TEST_F(RecordTest, HoldsWhatTheEnhancementDidAndTheTimes) {
  const Trace trace{3, 3.4, false, 2, 2, {{0, 0, 0.1, 1, 3.4}, {0, 1, 0.25, 1.6, 3.4}}};
  const Output::Seconds seconds{0.5, 2, 1};
  const auto json = nlohmann::json::parse(to_json(example(), trace, &seconds));
  EXPECT_EQ(json.at("enhanced"),
            nlohmann::json::parse(R"({"token_frames": 3, "measured": 2, "scaled": 1, "gain": [1.0, 1.6]})"));
  EXPECT_EQ(json.at("seconds").at("transformer"), 2);
}

TEST_F(RecordTest, TracesHaveOneEntryALine) {
  EXPECT_EQ(to_json(Trace{3, 3.4, false, 2, 2, {{0, 0, 0.1, 1, 3.4}, {0, 1, 0.25, 1.6, 3.4}}}),
            "{\"token_frames\": 3, \"weight\": 3.4, \"steps\": 2, \"layers\": 2, \"entries\": [\n[0,0,0.1,1.0],\n"
            "[0,1,0.25,1.6]\n]}\n");
}

TEST_F(RecordTest, TracesHoldHeadsAndMaps) {
  // 1 is 0x3c00 in float16, 0.5 is 0x3800, and 0.25 is 0x3400: bytes 00 3c 00 38 00 34 00 00 and 00 38.
  const Trace trace{
      2, 4, true, 1, 2, {{0, 0, 0.25, 1.5, 4, {0.25, 0.25}, {1, 0.5, 0.25, 0}}, {0, 1, 0.5, 3, 4, {0.5, 0.5}, {0.5}}}};
  const auto json = nlohmann::json::parse(to_json(trace));
  EXPECT_EQ(json.at("entries"), nlohmann::json::parse("[[0, 0, 0.25, 1.5], [0, 1, 0.5, 3.0]]"));
  EXPECT_EQ(json.at("weights"), nlohmann::json::parse("[4.0, 4.0]"));
  EXPECT_EQ(json.at("heads"), nlohmann::json::parse("[[0.25, 0.25], [0.5, 0.5]]"));
  EXPECT_EQ(json.at("maps"), nlohmann::json::parse(R"(["ADwAOAA0AAA=", "ADg="])"));
}

TEST_F(RecordTest, MayBeWrittenByHand) {
  const auto read = read_record(write(R"({"request": {"prompt": "a cat", "steps": 4}})"));
  EXPECT_EQ(read.request.prompt, "a cat");
  EXPECT_EQ(read.request.steps, 4);
  EXPECT_FALSE(read.request.seed);
  EXPECT_TRUE(read.request.enhance.enabled);
  auto now = example();
  now.runtime.device = read.runtime.device;
  EXPECT_TRUE(differences(read, now).empty());  // what it does not name cannot differ
}

TEST_F(RecordTest, SaysWhatDiffers) {
  auto now = example();
  now.environment.torch = "2.14.0";
  now.runtime.threads = 4;
  const auto lines = differences(example(), now);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0], "PyTorch is 2.14.0, the record was made with 2.13.0: the video may differ");
  EXPECT_EQ(lines[1], "the number of threads is 4, the record was made with 3: the video may differ");
}

TEST_F(RecordTest, RefusesWhatItDoesNotKnow) {
  EXPECT_THROW(read_record(write(R"({"request": {"stepz": 4}})")), Error);
  EXPECT_THROW(read_record(write(R"({"request": {"steps": "4"}})")), Error);
  EXPECT_THROW(read_record(write(R"({"prompt": "a cat"})")), Error);
  EXPECT_THROW(read_record(folder_ / "missing.json"), Error);
}

TEST_F(RecordTest, RefusesTracesOfSizesThatNoRunHas) {
  const auto trace = [](const char* steps, const char* entry) {
    return std::string(R"({"token_frames": 4, "weight": 1, "steps": )") + steps + R"(, "layers": 2, "entries": [)" +
           entry + "]}";
  };
  EXPECT_EQ(read_trace(write(trace("3", "[2, 1, 0.5, 1.25]"))).entries[0].step, 2);
  // Beyond an int, where a picture of three steps would be written far outside of itself.
  EXPECT_THROW(read_trace(write(trace("4294967299", "[4294967298, 1, 0.5, 1.25]"))), Error);
  EXPECT_THROW(read_trace(write(trace("18446744073709551615", ""))), Error);
  for (const auto* entry : {"[1e300, 1, 0.5, 1.25]", "[1, 1e300, 0.5, 1.25]", "[-1, 1, 0.5, 1.25]", "[1, 2, 0.5, 1.25]",
                            "[18446744073709551615, 1, 0.5, 1.25]", "[1, 1, null, 1.25]"})
    EXPECT_THROW(read_trace(write(trace("3", entry))), Error) << entry;
}

}  // namespace
}  // namespace eav
