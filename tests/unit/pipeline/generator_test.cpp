// A generator that keeps its models between runs.
#include "eav/generator.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace eav {
namespace {

namespace fs = std::filesystem;

class KeepModels : public testing::Test {
 protected:
  KeepModels() { fs::copy(EAV_DEMO, dir_, fs::copy_options::recursive); }
  ~KeepModels() override { fs::remove_all(dir_); }

  Output run(Generator& generator, const std::string& prompt) const {
    Request request{.prompt = prompt, .seed = 3, .width = 32, .height = 32, .frames = 9, .steps = 2};
    const std::vector jobs{generator.open(request)};
    Progress silent;
    Output made;
    generator.run(jobs, silent, [&](Output&& output) { made = std::move(output); });
    return made;
  }

  // Weights that are loaded again are not found.
  void remove_weights() const {
    for (const auto& entry : fs::recursive_directory_iterator(dir_))
      if (entry.path().extension() == ".safetensors") fs::remove(entry.path());
  }

  fs::path dir_ = fs::temp_directory_path() / fmt::format("eav-keep-models-{}", getpid());
};

TEST_F(KeepModels, MakesTheSameBitsAndLoadsNothingAgain) {
  Generator fresh(dir_, Runtime{.threads = 1});
  const auto expected = run(fresh, "a blue square");

  Generator kept(dir_, Runtime{.threads = 1});
  kept.keep_models(true);
  run(kept, "a red circle");
  remove_weights();
  const auto found = run(kept, "a blue square");
  EXPECT_TRUE(at::equal(found.latents, expected.latents));
  EXPECT_TRUE(at::equal(found.frames, expected.frames));
}

TEST_F(KeepModels, ReleasesThemOtherwise) {
  Generator generator(dir_, Runtime{.threads = 1});
  run(generator, "a red circle");
  remove_weights();
  EXPECT_THROW(run(generator, "a red circle"), Error);
}

}  // namespace
}  // namespace eav
