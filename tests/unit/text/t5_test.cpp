#include "text/t5.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "eav/error.h"

namespace eav {
namespace {

const nlohmann::json kConfig{{"d_model", 8},
                             {"d_kv", 3},
                             {"num_heads", 2},
                             {"d_ff", 5},
                             {"num_layers", 2},
                             {"vocab_size", 11},
                             {"relative_attention_num_buckets", 8},
                             {"relative_attention_max_distance", 16},
                             {"feed_forward_proj", "gated-gelu"}};

// A folder with a small random encoder, as its files are saved.
class T5 : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(dir_);
    at::manual_seed(0);
    tensors_["shared.weight"] = at::randn({11, 8});
    tensors_["encoder.final_layer_norm.weight"] = at::ones({8});
    for (const std::string i : {"0", "1"}) {
      const auto layer = "encoder.block." + i + ".layer.";
      for (const auto* name : {"q", "k", "v"})
        tensors_[layer + "0.SelfAttention." + name + ".weight"] = at::randn({6, 8});
      tensors_[layer + "0.SelfAttention.o.weight"] = at::randn({8, 6});
      for (const auto* name : {"0", "1"}) tensors_[layer + name + ".layer_norm.weight"] = at::ones({8});
      for (const auto* name : {"wi_0", "wi_1"})
        tensors_[layer + "1.DenseReluDense." + name + ".weight"] = at::randn({5, 8});
      tensors_[layer + "1.DenseReluDense.wo.weight"] = at::randn({8, 5});
    }
    tensors_["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = at::randn({8, 2});
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  T5Encoder open(const nlohmann::json& config = kConfig) {
    std::ofstream(dir_ / "config.json") << config;
    save_safetensors(dir_ / "model.safetensors", tensors_);
    return *T5Encoder::part(PartSource::of_transformers(dir_, "text_encoder"));
  }
  std::string error(const nlohmann::json& config = kConfig) {
    try {
      open(config);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }

  std::map<std::string, Tensor> tensors_;
  std::filesystem::path dir_ = std::filesystem::temp_directory_path() /
                               ("eav_t5_" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
};

TEST_F(T5, MaskedTokensDoNotMatter) {
  const auto encoder = open();
  const auto ids = at::tensor({1, 2, 3, 4}, at::kLong).unsqueeze(0),
             other = at::tensor({1, 2, 3, 9}, at::kLong).unsqueeze(0);
  const auto mask = at::tensor({1, 1, 1, 0}, at::kLong).to(at::kBool).unsqueeze(0);
  const Progress progress;
  const auto first = [](const Tensor& x) { return x.slice(1, 0, 3); };
  EXPECT_TRUE(first(encoder(ids, mask, at::kFloat, progress)).equal(first(encoder(other, mask, at::kFloat, progress))));
  EXPECT_FALSE(first(encoder(ids, {}, at::kFloat, progress)).allclose(first(encoder(other, {}, at::kFloat, progress))));
}

TEST_F(T5, StopsOnRequest) {
  struct Stopped : Progress {
    bool cancelled() const override { return true; }
  };
  EXPECT_THROW(open()(at::zeros({1, 2}, at::kLong), {}, at::kFloat, Stopped()), Cancelled);
}

TEST_F(T5, IdsOutsideTheVocabularyAreErrors) {
  EXPECT_THROW(open()(at::full({1, 2}, 11, at::kLong), {}, at::kFloat, Progress()), Error);
}

TEST_F(T5, DistancesShareBuckets) {
  const auto bias = (*open().position_bias)(40, at::kFloat);  // [1, heads, L, L]
  const auto at_offset = [&](int64_t offset) { return bias.index({0, 0, 20, 20 + offset}).item<float>(); };
  EXPECT_NE(at_offset(0), at_offset(1));   // near ones have buckets of their own
  EXPECT_NE(at_offset(1), at_offset(-1));  // the direction counts
  EXPECT_EQ(at_offset(16), at_offset(19));
  EXPECT_EQ(at_offset(-16), at_offset(-20));
}

TEST_F(T5, UnknownSettingsAndTensorsAreErrors) {
  auto config = kConfig;
  config["feed_forward_proj"] = "gated-swish2";
  EXPECT_NE(error(config).find("gated-swish2"), std::string::npos);
  config = kConfig;
  config["d_ff"] = 6;
  EXPECT_NE(error(config).find("wi_0.weight"), std::string::npos);
  tensors_["lm_head.weight"] = tensors_["decoder.block.0.x"] = at::ones({1});
  EXPECT_EQ(error(), "no error");
  tensors_["encoder.extra"] = at::ones({1});
  EXPECT_NE(error().find("encoder.extra"), std::string::npos);
}

}  // namespace
}  // namespace eav
