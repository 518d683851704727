#include "video/input.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "base/regular_file.h"

namespace eav::ffmpeg {
namespace {

// Decoders of what people have; names of FFmpeg's.
constexpr const char* kDecoders =
    "png,apng,mjpeg,bmp,tiff,ppm,pgm,pbm,pam,gif,h264,hevc,vp8,vp9,libdav1d,libaom-av1,av1,mpeg1video,mpeg2video,"
    "mpeg4,msmpeg4v2,msmpeg4,h263,theora,prores,dnxhd,dvvideo,qtrle,ffv1,ffvhuff,huffyuv,utvideo,magicyuv,v210,"
    "rawvideo";

int refuse_other_file(AVFormatContext*, AVIOContext**, const char*, int, AVDictionary**) { return AVERROR(EACCES); }

}  // namespace

// The file as FFmpeg reads it.
struct InputFile::Bytes {
  explicit Bytes(const std::filesystem::path& path) : file(path) {
    constexpr int kBuffer = 32768;
    auto* buffer = static_cast<unsigned char*>(av_malloc(kBuffer));
    io = buffer == nullptr ? nullptr : avio_alloc_context(buffer, kBuffer, 0, this, read, nullptr, seek);
    if (io != nullptr) return;
    av_free(buffer);
    throw std::bad_alloc();
  }
  ~Bytes() {
    av_free(io->buffer);
    avio_context_free(&io);
  }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;

  static int read(void* opaque, uint8_t* to, int count) {
    auto& bytes = *static_cast<Bytes*>(opaque);
    const auto got = bytes.file.read(bytes.at, to, static_cast<size_t>(count));
    if (got < 0) return AVERROR(errno);
    bytes.at += got;
    return got == 0 ? AVERROR_EOF : static_cast<int>(got);
  }

  static int64_t seek(void* opaque, int64_t offset, int whence) {
    auto& bytes = *static_cast<Bytes*>(opaque);
    if ((whence & AVSEEK_SIZE) != 0) return bytes.file.size();
    whence &= ~AVSEEK_FORCE;
    const int64_t from = whence == SEEK_CUR ? bytes.at : whence == SEEK_END ? bytes.file.size() : 0;
    if (offset > INT64_MAX - from || offset < -from) return AVERROR(EINVAL);
    return bytes.at = from + offset;
  }

  RegularFile file;
  int64_t at = 0;
  AVIOContext* io = nullptr;
};

InputFile::InputFile(const std::filesystem::path& path, const char* formats) : bytes_(std::make_unique<Bytes>(path)) {
  auto* context = avformat_alloc_context();
  if (context == nullptr) throw std::bad_alloc();
  context->pb = bytes_->io;
  context->io_open = refuse_other_file;
  Dictionary options;
  options.set("format_whitelist", formats);
  options.set("codec_whitelist", kDecoders);
  options.set("protocol_whitelist", "none");
  options.set("probesize", "5000000");
  options.set("max_streams", "100");
  // FFmpeg tells a long JPEG by its name alone, which it does not get.
  std::array<uint8_t, 3> first{};
  bytes_->file.read(0, first.data(), first.size());
  const auto* jpeg = first == std::array<uint8_t, 3>{0xFF, 0xD8, 0xFF} ? av_find_input_format("jpeg_pipe") : nullptr;
  check(avformat_open_input(&context, nullptr, jpeg, &options.entries), "no file of these formats");  // frees it if not
  context_.reset(context);
}

InputFile::~InputFile() = default;

int InputFile::find_stream_info() {
  std::vector<Dictionary> options(context_->nb_streams);
  std::vector<AVDictionary*> entries;
  for (auto& each : options) {
    each.set("max_pixels", fmt::format("{}", kMostPixels).c_str());
    entries.push_back(each.entries);
  }
  const int result = avformat_find_stream_info(context_.get(), entries.data());
  for (size_t i = 0; i < options.size(); ++i) options[i].entries = entries[i];
  return result;
}

Encoder open_decoder(const AVStream& stream, const AVCodec& codec, const Error& otherwise) {
  Encoder decoder(avcodec_alloc_context3(&codec));
  if (!decoder) throw std::bad_alloc();
  decoder->thread_count = 0;
  decoder->log_level_offset = 2 * AV_LOG_TRACE;  // its threads work on when Quiet is gone
  Dictionary options;
  options.set("codec_whitelist", kDecoders);
  options.set("max_pixels", fmt::format("{}", kMostPixels).c_str());
  if (avcodec_parameters_to_context(decoder.get(), stream.codecpar) < 0 ||
      avcodec_open2(decoder.get(), &codec, &options.entries) < 0)
    throw otherwise;
  return decoder;
}

}  // namespace eav::ffmpeg
