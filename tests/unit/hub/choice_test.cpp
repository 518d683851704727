#include "hub/choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "eav/error.h"
#include "eav/hub.h"

namespace eav {
namespace {

using Names = std::vector<std::string>;

Listing listing_of_names(const Names& names) {
  Listing listing;
  for (const auto& name : names) listing.files.push_back({name, 3, std::string(40, 'a')});
  std::ranges::sort(listing.files, {}, &ListedFile::path);
  return listing;
}

Names chosen(const Names& names, const std::string& path = "") {
  Names files;
  for (const auto& file : choose_files(listing_of_names(names), {"some/model", path}).files) files.push_back(file.path);
  return files;
}

// What is chosen in the folder vae/ of a model of diffusers.
Names chosen_of_part(Names names) {
  for (auto& name : names) name.insert(0, "vae/");
  names.push_back("model_index.json");
  auto files = chosen(names);
  EXPECT_EQ(files.at(0), "model_index.json");
  files.erase(files.begin());
  for (auto& file : files) file.erase(0, 4);
  return files;
}

const std::string kVae = "diffusion_pytorch_model";

TEST(Choice, TakesOneVariantAsTheLoaderDoes) {
  const Names shards{kVae + "-00001-of-00002.safetensors", kVae + "-00002-of-00002.safetensors",
                     kVae + ".safetensors.index.json"};
  const Names half{kVae + ".fp16-00001-of-00002.safetensors", kVae + "-00001-of-00002.fp16.safetensors",
                   kVae + ".safetensors.index.fp16.json"};
  auto both = shards;
  both.insert(both.end(), half.begin(), half.end());
  EXPECT_EQ(chosen_of_part(both), shards);
  EXPECT_EQ(chosen_of_part(half).size(), 3);
  both.push_back(kVae + ".safetensors");
  EXPECT_EQ(chosen_of_part(both), Names{kVae + ".safetensors"});
  EXPECT_EQ(chosen_of_part({kVae + ".fp16.safetensors", kVae + ".bf16.safetensors"}),
            Names{kVae + ".bf16.safetensors"});
  EXPECT_EQ(chosen_of_part({kVae + ".gguf", kVae + ".fp16.safetensors"}), Names{kVae + ".gguf"});
}

TEST(Choice, TakesOfAModelWhatIsRead) {
  const Names read{"eav.json",
                   "model_index.json",
                   "scheduler/scheduler_config.json",
                   "text_encoder/config.json",
                   "text_encoder/model.safetensors",
                   "tokenizer/spiece.model",
                   "transformer_2/config.json"};
  auto all = read;
  for (const auto* other : {"README.md", "config.yaml", "single.safetensors", "assets/model.safetensors",
                            "vae/README.md", "text_encoder/generation_config.json", "text_encoder/deeper/config.json",
                            "safety_checker/config.json", "tokenizer/tokenizer.model"})
    all.emplace_back(other);
  EXPECT_EQ(chosen(all), read);
  EXPECT_EQ(chosen(all, "single.safetensors"), Names{"single.safetensors"});
  EXPECT_EQ(chosen(all, "tokenizer"), Names{"tokenizer/spiece.model"});
}

TEST(Choice, TakesOfALatentUpscalerNothingElse) {
  const Names read{"latent_upsampler/config.json", "latent_upsampler/diffusion_pytorch_model.safetensors",
                   "model_index.json"};
  auto all = read;
  all.insert(all.end(), {"vae/config.json", "vae/diffusion_pytorch_model.safetensors"});
  EXPECT_EQ(chosen(all), read);
}

TEST(Choice, NamesPickledObjectsAndTakesNone) {
  const auto choice = choose_files(
      listing_of_names({"model_index.json", "vae/config.json", "vae/diffusion_pytorch_model.bin"}), {"a/b"});
  EXPECT_EQ(choice.pickled, Names{"vae/diffusion_pytorch_model.bin"});
  EXPECT_EQ(choice.files.size(), 2);
  for (const auto* path : {"", "vae", "vae/x.pth"})
    EXPECT_THROW(chosen({"vae/config.json", "vae/x.pth"}, path), Error) << path;
}

TEST(Choice, OfSingleFilesAsksForOne) {
  EXPECT_EQ(chosen({"README.md", "unet/a.gguf"}), Names{"unet/a.gguf"});
  EXPECT_EQ(choose_files(listing_of_names({"config.yaml", "unet/a.gguf"}), {"a/b"}).path, "unet/a.gguf");
  try {
    chosen({"a.gguf", "b.safetensors", "c-00001-of-00002.safetensors", "d.bin"});
    FAIL();
  } catch (const SeveralFiles& several) {
    ASSERT_EQ(several.files().size(), 2);
    EXPECT_EQ(several.files()[1].path, "b.safetensors");
  }
  EXPECT_EQ(chosen({"x/a.gguf", "y/b.gguf"}, "y"), Names{"y/b.gguf"});
  EXPECT_THROW(chosen({"x/a.gguf"}, "z"), Error);
  EXPECT_THROW(chosen({"x/a.gguf"}, "x/a"), Error);
}

}  // namespace
}  // namespace eav
