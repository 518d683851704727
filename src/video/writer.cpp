#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <functional>
#include <memory>
#include <regex>
#include <span>
#include <vector>

#include "eav/files.h"
#include "eav/video.h"
#include "video/ffmpeg.h"
#include "video/input.h"
#include "video/palette.h"

namespace eav {
namespace {

namespace fs = std::filesystem;
using at::Tensor;

// ---- files and folders ----

std::string picture_name(int64_t index) { return fmt::format("frame_{:05}.png", index); }

bool is_picture_name(const std::string& name) {
  static const std::regex ours("frame_[0-9]{5,}\\.png");
  return std::regex_match(name, ours);
}

// ---- encoding ----

// How a kind of output is encoded.
struct Format {
  const char* muxer;  // null: every packet is a file
  const char* encoder;
  AVPixelFormat pixels;
  std::vector<std::pair<const char*, const char*>> options;  // of the encoder
  const char* threads;
};

// The number of threads is fixed where it shows in the bytes, so that a video does not depend on the machine.
Format format_of(OutputKind kind) {
  switch (kind) {
    case OutputKind::mp4: {
      Format format{"mp4", "libx264", AV_PIX_FMT_YUV420P, {{"preset", "medium"}, {"crf", "18"}}, "4"};
      // x264 164 reads memory that it never wrote in its macroblock tree with AVX-512: other bytes in every run.
      if ((av_get_cpu_flags() & AV_CPU_FLAG_AVX512) != 0) format.options.emplace_back("x264-params", "asm=avx2");
      return format;
    }
    case OutputKind::webm:
      return {"webm",
              "libvpx-vp9",
              AV_PIX_FMT_YUV420P,
              {{"b", "0"}, {"crf", "24"}, {"cpu-used", "2"}, {"row-mt", "1"}},
              "4"};
    case OutputKind::gif:
      return {"gif", "gif", AV_PIX_FMT_PAL8, {}, "1"};
    case OutputKind::frames:
      return {nullptr, "png", AV_PIX_FMT_RGB24, {{"pred", "mixed"}}, "1"};
  }
  throw Error("unknown kind of output");
}

const AVCodec* find_encoder(const Format& format) {
  if (const auto* codec = avcodec_find_encoder_by_name(format.encoder)) return codec;
  throw Error(fmt::format("this FFmpeg has no encoder '{}'; install one that has it, or write frames to a folder/",
                          format.encoder));
}

// Frames in, packets out.
class Encoder {
 public:
  Encoder(const Format& format, int64_t width, int64_t height, AVRational time_base, bool global_header) {
    const auto* codec = find_encoder(format);
    context_.reset(avcodec_alloc_context3(codec));
    packet_.reset(av_packet_alloc());
    if (!context_ || !packet_) throw std::bad_alloc();
    context_->width = static_cast<int>(width);
    context_->height = static_cast<int>(height);
    context_->pix_fmt = format.pixels;
    context_->time_base = time_base;
    context_->framerate = av_inv_q(time_base);
    context_->flags |= AV_CODEC_FLAG_BITEXACT | (global_header ? AV_CODEC_FLAG_GLOBAL_HEADER : 0);
    if (format.pixels == AV_PIX_FMT_YUV420P) {  // what converter() makes
      context_->color_range = AVCOL_RANGE_MPEG;
      context_->colorspace = AVCOL_SPC_BT709;
      context_->color_primaries = AVCOL_PRI_BT709;
      context_->color_trc = AVCOL_TRC_BT709;
      context_->chroma_sample_location = AVCHROMA_LOC_LEFT;
    }
    ffmpeg::Dictionary options;
    for (const auto& [key, value] : format.options) options.set(key, value);
    options.set("threads", format.threads);
    ffmpeg::check(avcodec_open2(context_.get(), codec, &options.entries),
                  fmt::format("cannot encode {}x{} with {}", width, height, format.encoder));
  }

  // Takes a frame, or null after the last one, and hands each packet that is ready to `sink`.
  void operator()(const AVFrame* frame, const std::function<void(AVPacket&)>& sink) {
    ffmpeg::check(avcodec_send_frame(context_.get(), frame), "cannot encode a frame");
    while (true) {
      const int result = avcodec_receive_packet(context_.get(), packet_.get());
      if (result == AVERROR(EAGAIN) || result == AVERROR_EOF) return;
      ffmpeg::check(result, "cannot encode a frame");
      packet_->duration = std::max<int64_t>(packet_->duration, 1);  // else the last frame of a .mp4 lasts no time
      sink(*packet_);
      av_packet_unref(packet_.get());
    }
  }

  const AVCodecContext& context() const { return *context_; }

 private:
  ffmpeg::Encoder context_;
  ffmpeg::Packet packet_;
};

// A .mp4, .webm or .gif being written.
class Muxer {
 public:
  // `out` is the name to show in errors.
  Muxer(const fs::path& file, const fs::path& out, const char* muxer)
      : what_(fmt::format("cannot write '{}'", out.string())) {
    AVFormatContext* context = nullptr;
    ffmpeg::check(avformat_alloc_output_context2(&context, nullptr, muxer, ffmpeg::url(file).c_str()), what_);
    context_.reset(context);
    context_->flags |= AVFMT_FLAG_BITEXACT;  // no dates, no random ids
    ffmpeg::check(avio_open(&context_->pb, context_->url, AVIO_FLAG_WRITE), what_);
  }

  // Ends a file that was given up: some muxers (GIF's) let go of their last packet only here.
  ~Muxer() {
    if (started_) av_write_trailer(context_.get());
  }
  Muxer(const Muxer&) = delete;
  Muxer& operator=(const Muxer&) = delete;

  bool wants_global_header() const { return (context_->oformat->flags & AVFMT_GLOBALHEADER) != 0; }

  void start(const AVCodecContext& encoder, AVRational rate, const std::string& metadata) {
    encoder_base_ = encoder.time_base;
    stream_ = avformat_new_stream(context_.get(), nullptr);
    if (!stream_) throw std::bad_alloc();
    ffmpeg::check(avcodec_parameters_from_context(stream_->codecpar, &encoder), what_);
    stream_->time_base = encoder.time_base;
    stream_->avg_frame_rate = rate;
    if (!metadata.empty()) av_dict_set(&context_->metadata, "comment", metadata.c_str(), 0);
    ffmpeg::Dictionary options;
    options.set("movflags", "+faststart");  // .mp4: the index comes first, so that a browser plays while it loads
    ffmpeg::check(avformat_write_header(context_.get(), &options.entries), what_);
    started_ = true;
  }

  void write(AVPacket& packet) {
    av_packet_rescale_ts(&packet, encoder_base_, stream_->time_base);
    packet.stream_index = stream_->index;
    ffmpeg::check(av_interleaved_write_frame(context_.get(), &packet), what_);
  }

  void finish() {
    started_ = false;
    ffmpeg::check(av_write_trailer(context_.get()), what_);
    avio_flush(context_->pb);
    ffmpeg::check(context_->pb->error, what_);
    ffmpeg::check(avio_closep(&context_->pb), what_);
  }

 private:
  std::string what_;
  ffmpeg::Output context_;
  AVStream* stream_ = nullptr;
  AVRational encoder_base_{};
  bool started_ = false;
};

// Turns a picture (uint8 [H, W, 3]) into a frame of the encoder's pixel format.
using Converter = std::function<ffmpeg::Frame(const Tensor&)>;

Converter converter(const Tensor& frames, AVPixelFormat pixels) {
  const int height = static_cast<int>(frames.size(1)), width = static_cast<int>(frames.size(2));
  const auto rgb = [=](const Tensor& picture) {
    auto frame = ffmpeg::new_frame(AV_PIX_FMT_RGB24, width, height);
    av_image_copy_plane(frame->data[0], frame->linesize[0], picture.const_data_ptr<uint8_t>(), 3 * width, 3 * width,
                        height);
    return frame;
  };
  if (pixels == AV_PIX_FMT_RGB24) return rgb;

  if (pixels == AV_PIX_FMT_PAL8) {
    return [=, palette = Palette(frames)](const Tensor& picture) mutable {
      auto frame = ffmpeg::new_frame(pixels, width, height);
      std::ranges::copy(palette.argb(), reinterpret_cast<uint32_t*>(frame->data[1]));
      for (int y = 0; y < height; ++y)
        palette.map_row(picture.const_data_ptr<uint8_t>() + int64_t{3} * width * y,
                        frame->data[0] + int64_t{frame->linesize[0]} * y, width, y);
      return frame;
    };
  }

  // BT.709, limited range: what players take for granted in a video of today; the stream says so as well.
  const std::shared_ptr<SwsContext> scaler(
      sws_getContext(width, height, AV_PIX_FMT_RGB24, width, height, pixels,
                     SWS_BICUBIC | SWS_FULL_CHR_H_INP | SWS_ACCURATE_RND | SWS_BITEXACT, nullptr, nullptr, nullptr),
      sws_freeContext);
  if (!scaler) throw Error(fmt::format("FFmpeg cannot convert pictures of {}x{}", width, height));
  const int* bt709 = sws_getCoefficients(SWS_CS_ITU709);
  sws_setColorspaceDetails(scaler.get(), bt709, 1, bt709, 0, 0, 1 << 16, 1 << 16);
  return [=](const Tensor& picture) {
    const auto from = rgb(picture);
    auto frame = ffmpeg::new_frame(pixels, width, height);
    sws_scale(scaler.get(), from->data, from->linesize, 0, height, frame->data, frame->linesize);
    return frame;
  };
}

// 23.976, 23.98, 29.97, 59.94 are short for n * 1000/1001.
AVRational frame_rate(double fps) {
  const double whole = std::round(fps);
  if (std::abs(fps - whole * 1000 / 1001) < 2e-4 * fps) return {static_cast<int>(whole) * 1000, 1001};
  return av_d2q(fps, 1'000'000);
}

// The last row and column once more where a size is odd: 4:2:0 in H.264 has only even ones.
Tensor pad_to_even(Tensor frames) {
  for (const int64_t dim : {1, 2})
    if (frames.size(dim) % 2 == 1) frames = at::cat({frames, frames.narrow(dim, frames.size(dim) - 1, 1)}, dim);
  return frames;
}

Temporary prepare_movie(const fs::path& out, OutputKind kind, const Tensor& frames, double fps,
                        const std::string& metadata, const Progress& progress) {
  const auto rate = frame_rate(fps);
  // GIF counts in hundredths of a second, and viewers play a frame of fewer than two of them slowly.
  const bool gif = kind == OutputKind::gif;
  const auto time_base = gif ? AVRational{1, 100} : av_inv_q(rate);
  const int64_t shortest = gif ? 2 : 1;

  const auto format = format_of(kind);
  const auto convert = converter(frames, format.pixels);
  auto part = Temporary::file(out);
  Muxer muxer(part.path(), out, format.muxer);
  Encoder encode(format, frames.size(2), frames.size(1), time_base, muxer.wants_global_header());
  muxer.start(encode.context(), rate, metadata);
  const auto sink = [&](AVPacket& packet) {
    progress.check();
    muxer.write(packet);
  };
  for (int64_t i = 0, next = 0; i < frames.size(0); ++i) {
    progress.check();
    const int64_t time = av_rescale_q(i, av_inv_q(rate), time_base);
    if (time < next) continue;
    next = time + shortest;
    const auto frame = convert(frames[i]);
    frame->pts = time;
    encode(frame.get(), sink);
  }
  encode(nullptr, sink);
  muxer.finish();
  return part;
}

void write_bytes(const fs::path& file, const AVPacket& packet, const std::string& what) {
  AVIOContext* opened = nullptr;
  ffmpeg::check(avio_open(&opened, ffmpeg::url(file).c_str(), AVIO_FLAG_WRITE), what);
  ffmpeg::File io(opened);
  avio_write(io.get(), packet.data, packet.size);
  avio_flush(io.get());
  ffmpeg::check(io->error, what);
  auto* closing = io.release();
  ffmpeg::check(avio_closep(&closing), what);
}

// Gives each frame, encoded as PNG, to `sink`.
template <class Sink>
void encode_pictures(const Tensor& frames, const Progress& progress, const Sink& sink) {
  const auto format = format_of(OutputKind::frames);
  const auto convert = converter(frames, format.pixels);
  Encoder encode(format, frames.size(2), frames.size(1), {1, 1}, false);
  for (int64_t i = 0; i < frames.size(0); ++i) {
    progress.check();
    const auto frame = convert(frames[i]);
    frame->pts = i;
    encode(frame.get(), sink);
  }
  encode(nullptr, sink);
}

Temporary prepare_pictures(const fs::path& out, const Tensor& frames, const Progress& progress) {
  const auto target = target_of(out);
  auto part = Temporary::folder(fs::is_directory(target) ? target : target.parent_path(), out, is_picture_name);
  int64_t written = 0;
  encode_pictures(frames, progress, [&](AVPacket& packet) {
    write_bytes(part.path() / picture_name(written++), packet, fmt::format("cannot write '{}'", out.string()));
  });
  return part;
}

void check_frames(const Tensor& frames, double fps) {
  if (!frames.defined() || frames.dim() != 4 || frames.size(3) != 3 || frames.scalar_type() != at::kByte ||
      !frames.device().is_cpu())
    throw Error("frames to write must be a uint8 tensor [F, H, W, 3] on the CPU");
  constexpr int64_t max_side = 16384;  // H.264's and VP9's encoders take no more
  if (frames.size(0) < 1) throw Error("there are no frames to write");
  if (std::min(frames.size(1), frames.size(2)) < 1 || std::max(frames.size(1), frames.size(2)) > max_side)
    throw Error(fmt::format("frames of {}x{} cannot be written; each side must be 1 to {} pixels", frames.size(2),
                            frames.size(1), max_side));
  if (!(fps >= 0.01 && fps <= 1000))
    throw Error(fmt::format("a video cannot have {} frames a second; 0.01 to 1000 work", fps));
}

}  // namespace

OutputKind output_kind(const fs::path& out) {
  std::error_code ignored;
  if (!out.empty() && (!out.has_filename() || fs::is_directory(out, ignored))) return OutputKind::frames;
  auto suffix = out.extension().string();
  std::ranges::transform(suffix, suffix.begin(), [](unsigned char c) { return std::tolower(c); });
  if (suffix == ".mp4") return OutputKind::mp4;
  if (suffix == ".webm") return OutputKind::webm;
  if (suffix == ".gif") return OutputKind::gif;
  throw Error(fmt::format("cannot tell what to write from '{}'; end it in .mp4, .webm, .gif, or in / for PNG frames",
                          out.string()));
}

void check_output(const fs::path& out, bool overwrite) {
  const bool frames = output_kind(out) == OutputKind::frames;
  find_encoder(format_of(output_kind(out)));

  const auto target = target_of(out);
  std::error_code error;
  const auto found = fs::status(target, error).type();
  auto folder = target.parent_path();
  if (frames && found == fs::file_type::directory) {
    if (!overwrite && !fs::is_empty(target, error) && !error)
      throw Error(
          fmt::format("the folder '{}' is not empty; choose another, or --overwrite the frames in it", out.string()));
    folder = target;
  } else if (frames && found != fs::file_type::not_found) {
    throw Error(fmt::format("'{}' is a file; frames need a folder of their own", target.string()));
  } else if (!overwrite && found != fs::file_type::not_found) {
    throw Error(fmt::format("'{}' exists; --overwrite it, or choose another name", out.string()));
  }
  check_takes_files(folder, out);
}

Temporary prepare_video(const fs::path& out, const Tensor& frames, double fps, const std::string& metadata,
                        const Progress& progress) {
  check_frames(frames, fps);
  const ffmpeg::Quiet quiet;
  switch (const auto kind = output_kind(out)) {
    case OutputKind::frames:
      return prepare_pictures(out, frames.contiguous(), progress);
    case OutputKind::mp4:
      return prepare_movie(out, kind, pad_to_even(frames).contiguous(), fps, metadata, progress);
    default:
      return prepare_movie(out, kind, frames.contiguous(), fps, metadata, progress);
  }
}

void write_video(const fs::path& out, const Tensor& frames, double fps, const std::string& metadata,
                 const Progress& progress) {
  prepare_video(out, frames, fps, metadata, progress).finish();
}

void write_picture(const fs::path& out, const Tensor& picture) {
  const auto frames = picture.unsqueeze(0).contiguous();
  check_frames(frames, /*fps=*/1);
  const ffmpeg::Quiet quiet;
  const auto part = Temporary::file(out);
  encode_pictures(frames, {}, [&](AVPacket& packet) {
    write_bytes(part.path(), packet, fmt::format("cannot write '{}'", out.string()));
  });
  part.finish();
}

std::string ffmpeg_version() { return av_version_info(); }

std::string read_metadata(const fs::path& video) {
  const ffmpeg::Quiet quiet;
  const auto what = fmt::format("cannot read '{}' as a .mp4 or .webm video", video.string());
  const auto input = [&] {
    try {
      return std::make_unique<ffmpeg::InputFile>(video, ffmpeg::kVideoFormats);
    } catch (const Error& error) {
      throw Error(fmt::format("{}: {}", what, error.what()));
    }
  }();
  const auto streams = std::span((*input)->streams, (*input)->nb_streams);
  if (std::ranges::none_of(streams, [](const AVStream* s) { return s->codecpar->codec_type == AVMEDIA_TYPE_VIDEO; }))
    throw Error(what + ": it holds no pictures");
  const auto* comment = av_dict_get((*input)->metadata, "comment", nullptr, 0);
  return comment ? comment->value : "";
}

}  // namespace eav
