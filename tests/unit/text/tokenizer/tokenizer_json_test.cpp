#include "text/tokenizer/tokenizer_json.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "eav/error.h"

namespace eav::text {
namespace {

class TokenizerJson : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }

  Tokenizer read(const std::string& json) {
    std::ofstream(path_) << json;
    return read_tokenizer_json(JsonFile(path_));
  }
  std::string error(const std::string& json) {
    try {
      read(json);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }

  std::filesystem::path path_ = std::filesystem::temp_directory_path() /
                                (std::string(testing::UnitTest::GetInstance()->current_test_info()->name()) + ".json");
};

using Ids = std::vector<int64_t>;

TEST_F(TokenizerJson, ReadsAWholePipeline) {
  const auto tokenizer = read(R"({
    "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
    "padding": {"strategy": {"Fixed": 20}, "direction": "Right", "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"},
    "added_tokens": [{"id": 1, "content": "</s>", "special": true}, {"id": 4, "content": "<x>", "special": true}],
    "normalizer": {"type": "Sequence", "normalizers": [
      {"type": "Lowercase"}, {"type": "Replace", "pattern": {"Regex": "b+"}, "content": "b"}]},
    "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "add_prefix_space": true},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
      "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}},
    "decoder": {"type": "Metaspace", "replacement": "▁", "add_prefix_space": true},
    "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["</s>", 0], ["▁a", -1], ["▁b", -1]]}})");
  EXPECT_EQ(tokenizer.encode("A BBB<x>a"), (Ids{2, 3, 4, 2, 1}));
  EXPECT_EQ(tokenizer.decode(Ids{2, 3, 1}), "a b</s>");
  EXPECT_EQ(tokenizer.vocabulary_size(), 5);
  EXPECT_EQ(tokenizer.id("<x>"), 4);
  EXPECT_THROW(tokenizer.encode("\xff"), Error);
}

TEST_F(TokenizerJson, ReadsByteLevelBpe) {
  const auto tokenizer = read(R"({
    "added_tokens": [],
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
    "post_processor": {"type": "RobertaProcessing", "sep": ["<e>", 9], "cls": ["<s>", 8]},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "Ġ": 1, "b": 2, "Ġb": 3}, "merges": ["Ġ b"]}})");
  EXPECT_EQ(tokenizer.encode("a b"), (Ids{8, 0, 3, 9}));
  EXPECT_EQ(tokenizer.decode(Ids{0, 3}), "a b");
}

TEST_F(TokenizerJson, NamesWhatItDoesNotSupport) {
  const std::string model = R"("model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0]]})";
  EXPECT_NE(error(R"({"normalizer": {"type": "BertNormalizer"}, )" + model + "}").find("\"BertNormalizer\""),
            std::string::npos);
  EXPECT_NE(error(R"({"pre_tokenizer": {"type": "Punctuation"}, )" + model + "}").find("\"Punctuation\""),
            std::string::npos);
  EXPECT_NE(error(R"({"decoder": {"type": "CTC"}, )" + model + "}").find("\"CTC\""), std::string::npos);
  EXPECT_NE(error(R"({"model": {"type": "WordPiece", "vocab": {}}})").find("\"WordPiece\""), std::string::npos);
}

TEST_F(TokenizerJson, MalformedFilesAreErrorsThatNameThem) {
  for (const auto* json : {"", "[]", "{}", R"({"model": 3})", R"({"model": {"type": "Unigram", "vocab": [["a"]]}})",
                           R"({"model": {"type": "Unigram", "unk_id": 7, "vocab": [["a", 0]]}})",
                           R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}})",
                           R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a"]}})",
                           R"({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"},
                               "model": {"type": "Unigram", "vocab": [["a", 0]]}})"})
    EXPECT_NE(error(json).find(path_.string()), std::string::npos) << json << " -> " << error(json);
}

}  // namespace
}  // namespace eav::text
