#include "replicator/oci/manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "replicator/base/base64.h"

namespace transship::oci {

namespace {

using Json = nlohmann::json;

enum class Shape { image, index, artifact };

tl::unexpected<Error> invalid(std::string message) {
  return fail(ErrorKind::invalid, "manifest: " + std::move(message));
}

// One pass over the text before it is parsed, so that no hostile manifest can cost much memory.
Result<void> check_json_shape(std::string_view text, const ManifestLimits& limits) {
  std::size_t depth = 0;
  std::size_t values = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
      continue;
    }
    in_string = c == '"';
    if (c == '[' || c == '{') {
      ++values;
      if (++depth > limits.depth) {
        return invalid(fmt::format("nested deeper than {} levels", limits.depth));
      }
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    } else if (c == ',') {
      ++values;
    }
    if (values > limits.json_values) {
      return invalid(fmt::format("more than {} values", limits.json_values));
    }
  }
  return {};
}

std::optional<Shape> shape_of(std::string_view type) {
  if (type == media_type::oci_manifest || type == media_type::docker_manifest) return Shape::image;
  if (type == media_type::oci_index || type == media_type::docker_list) return Shape::index;
  if (type == media_type::oci_artifact) return Shape::artifact;
  return std::nullopt;
}

std::string without_parameters(std::string_view content_type) {
  content_type = content_type.substr(0, content_type.find(';'));
  while (!content_type.empty() && content_type.back() == ' ') content_type.remove_suffix(1);
  while (!content_type.empty() && content_type.front() == ' ') content_type.remove_prefix(1);
  return std::string(content_type);
}

Result<std::string> optional_string(const Json& object, const char* key, std::string_view where) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return std::string();
  if (!found->is_string()) return invalid(fmt::format("{}.{} is not a string", where, key));
  return found->get<std::string>();
}

Result<void> read_extras(const Json& json, std::string_view where, Descriptor& descriptor) {
  if (const auto urls = json.find("urls"); urls != json.end() && !urls->is_null()) {
    if (!urls->is_array()) return invalid(fmt::format("{}.urls is not a list", where));
    for (const Json& url : *urls) {
      if (!url.is_string()) return invalid(fmt::format("{}.urls holds no strings", where));
      descriptor.urls.push_back(url.get<std::string>());
    }
  }
  auto data = optional_string(json, "data", where);
  if (!data) return fail(data.error());
  if (data->empty()) return {};
  auto content = base64_decoded(*data);
  // Content that does not prove itself is not used; the blob is then fetched like any other.
  if (content && content->size() == descriptor.size &&
      Digest::of(*content, descriptor.digest.algorithm()) == descriptor.digest) {
    descriptor.data = std::move(*content);
  }
  return {};
}

Result<Descriptor> read_descriptor(const Json& json, const std::string& where) {
  if (!json.is_object()) return invalid(where + " is not an object");
  auto type = optional_string(json, "mediaType", where);
  if (!type) return fail(type.error());
  const auto digest_text = json.find("digest");
  if (digest_text == json.end() || !digest_text->is_string()) {
    return invalid(where + " has no digest");
  }
  auto digest = Digest::parse(digest_text->get<std::string>());
  if (!digest) return invalid(fmt::format("{}.digest: {}", where, digest.error().message));
  const auto size = json.find("size");
  constexpr std::uint64_t size_max = INT64_MAX;
  if (size == json.end() || !size->is_number_integer() ||
      (!size->is_number_unsigned() && size->get<std::int64_t>() < 0) ||
      size->get<std::uint64_t>() > size_max) {
    return invalid(where + ".size is not a number of bytes");
  }
  Descriptor descriptor{std::move(*type), std::move(*digest), size->get<std::uint64_t>(), {}, {}};
  if (auto extras = read_extras(json, where, descriptor); !extras) return fail(extras.error());
  return descriptor;
}

Result<void> read_list(const Json& json, const char* key, const ManifestLimits& limits,
                       std::vector<Descriptor>& into) {
  const auto list = json.find(key);
  if (list == json.end() || list->is_null()) return {};
  if (!list->is_array()) return invalid(fmt::format("{} is not a list", key));
  if (list->size() > limits.descriptors) {
    return invalid(fmt::format("more than {} {}", limits.descriptors, key));
  }
  for (std::size_t i = 0; i < list->size(); ++i) {
    auto descriptor = read_descriptor((*list)[i], fmt::format("{}[{}]", key, i));
    if (!descriptor) return fail(descriptor.error());
    into.push_back(std::move(*descriptor));
  }
  return {};
}

Result<std::string> settle_media_type(const Json& json, std::string_view content_type) {
  std::string served = without_parameters(content_type);
  auto inside = optional_string(json, "mediaType", "manifest");
  if (!inside) return fail(inside.error());
  if (shape_of(served)) {
    if (!inside->empty() && *inside != served) {
      return invalid(fmt::format("served as {} but says that it is {}", served, *inside));
    }
    return served;
  }
  if (shape_of(*inside)) return *inside;
  if (json.contains("schemaVersion") && json["schemaVersion"] == 1) {
    return fail(
        ErrorKind::unsupported,
        "manifest: Docker schema 1 is not supported; push the image anew with a current tool");
  }
  if (!inside->empty()) {
    return fail(ErrorKind::unsupported, fmt::format("manifest: unknown media type {}", *inside));
  }
  // Neither says: the OCI types may leave mediaType out, and their fields tell them apart.
  if (json.contains("manifests") && !json.contains("config"))
    return std::string(media_type::oci_index);
  if (json.contains("config") && !json.contains("manifests")) {
    return std::string(media_type::oci_manifest);
  }
  return invalid(fmt::format("neither an image nor an index (served as \"{}\")", served));
}

Result<void> read_image(const Json& json, const ManifestLimits& limits, Manifest& manifest) {
  const auto config = json.find("config");
  if (config == json.end()) return invalid("config is missing");
  if (json.contains("manifests")) return invalid("an image with \"manifests\" is ambiguous");
  auto descriptor = read_descriptor(*config, "config");
  if (!descriptor) return fail(descriptor.error());
  manifest.blobs.push_back(std::move(*descriptor));
  return read_list(json, "layers", limits, manifest.blobs);
}

Result<void> read_index(const Json& json, const ManifestLimits& limits, Manifest& manifest) {
  if (json.contains("layers") || json.contains("config")) {
    return invalid("an index with \"config\" or \"layers\" is ambiguous");
  }
  return read_list(json, "manifests", limits, manifest.manifests);
}

// Nothing depends on them, so that what is odd is left out instead of refused.
void read_annotations(const Json& json, Manifest& manifest) {
  const auto annotations = json.find("annotations");
  if (annotations == json.end() || !annotations->is_object()) return;
  for (const auto& [key, value] : annotations->items()) {
    if (value.is_string()) manifest.annotations.emplace(key, value.get<std::string>());
  }
}

}  // namespace

std::string_view accept_header() {
  static const std::string value =
      fmt::format("{}, {}, {}, {}, {}", media_type::oci_manifest, media_type::oci_index,
                  media_type::docker_manifest, media_type::docker_list, media_type::oci_artifact);
  return value;
}

bool Manifest::is_index() const { return shape_of(media_type) == Shape::index; }

std::string Manifest::type_as_referrer() const {
  const bool has_config = shape_of(media_type) == Shape::image && !blobs.empty();
  return artifact_type.empty() && has_config ? blobs.front().media_type : artifact_type;
}

Result<Manifest> parse_manifest(std::string bytes, std::string_view content_type,
                                Algorithm algorithm, const ManifestLimits& limits) {
  if (bytes.size() > limits.bytes) {
    return invalid(fmt::format("{} bytes, more than {}", bytes.size(), limits.bytes));
  }
  if (auto shape = check_json_shape(bytes, limits); !shape) return fail(shape.error());
  const Json json = Json::parse(bytes, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.is_object()) return invalid("not a JSON object");
  auto type = settle_media_type(json, content_type);
  if (!type) return fail(type.error());
  if (json.contains("schemaVersion") && json["schemaVersion"] != 2 &&
      *type != media_type::oci_artifact) {
    return invalid("schemaVersion is not 2");
  }

  Digest digest = Digest::of(bytes, algorithm);
  Manifest manifest{std::move(bytes), std::move(digest), *type, {}, {}, {}, {}, {}};
  Result<void> content;
  switch (*shape_of(*type)) {
    case Shape::image:
      content = read_image(json, limits, manifest);
      break;
    case Shape::index:
      content = read_index(json, limits, manifest);
      break;
    case Shape::artifact:
      content = read_list(json, "blobs", limits, manifest.blobs);
      break;
  }
  if (!content) return fail(content.error());
  if (const auto subject = json.find("subject"); subject != json.end() && !subject->is_null()) {
    auto descriptor = read_descriptor(*subject, "subject");
    if (!descriptor) return fail(descriptor.error());
    manifest.subject = std::move(*descriptor);
  }
  auto artifact_type = optional_string(json, "artifactType", "manifest");
  if (!artifact_type) return fail(artifact_type.error());
  manifest.artifact_type = std::move(*artifact_type);
  read_annotations(json, manifest);
  return manifest;
}

}  // namespace transship::oci
