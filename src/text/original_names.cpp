#include "text/original_names.h"

namespace eav {

const KeyTable& wan_t5_table() {
  static const KeyTable table{
      {"blocks.",
       "encoder.block.",
       {
           {"attn.", "layer.0.SelfAttention."},
           {"pos_embedding.embedding.", "layer.0.SelfAttention.relative_attention_bias."},
           {"norm1.", "layer.0.layer_norm."},
           {"ffn.gate.0.", "layer.1.DenseReluDense.wi_0."},
           {"ffn.fc1.", "layer.1.DenseReluDense.wi_1."},
           {"ffn.fc2.", "layer.1.DenseReluDense.wo."},
           {"norm2.", "layer.1.layer_norm."},
           {"", ""},
       }},
      {"", "", {{"token_embedding.", "shared."}, {"norm.", "encoder.final_layer_norm."}, {"", ""}}},
  };
  return table;
}

const KeyTable& llama_cpp_t5_table() {
  static const KeyTable table{
      {"enc.blk.",
       "encoder.block.",
       {
           {"attn_q.", "layer.0.SelfAttention.q."},
           {"attn_k.", "layer.0.SelfAttention.k."},
           {"attn_v.", "layer.0.SelfAttention.v."},
           {"attn_o.", "layer.0.SelfAttention.o."},
           {"attn_rel_b.", "layer.0.SelfAttention.relative_attention_bias."},
           {"attn_norm.", "layer.0.layer_norm."},
           {"ffn_gate.", "layer.1.DenseReluDense.wi_0."},
           {"ffn_up.", "layer.1.DenseReluDense.wi_1."},
           {"ffn_down.", "layer.1.DenseReluDense.wo."},
           {"ffn_norm.", "layer.1.layer_norm."},
           {"", ""},
       }},
      {"", "", {{"token_embd.", "shared."}, {"enc.output_norm.", "encoder.final_layer_norm."}, {"", ""}}},
  };
  return table;
}

const KeyTable& llama_cpp_llama_table() {
  static const KeyTable table{
      {"blk.",
       "layers.",
       {
           {"attn_q.", "self_attn.q_proj."},
           {"attn_k.", "self_attn.k_proj."},
           {"attn_v.", "self_attn.v_proj."},
           {"attn_output.", "self_attn.o_proj."},
           {"attn_norm.", "input_layernorm."},
           {"ffn_gate.", "mlp.gate_proj."},
           {"ffn_up.", "mlp.up_proj."},
           {"ffn_down.", "mlp.down_proj."},
           {"ffn_norm.", "post_attention_layernorm."},
           {"", ""},
       }},
      {"", "", {{"token_embd.", "embed_tokens."}, {"output_norm.", "norm."}}},  // neither "output." nor "rope_freqs."
  };
  return table;
}

bool llama_cpp_pairs(const std::string& key) {
  return key.ends_with("self_attn.q_proj.weight") || key.ends_with("self_attn.k_proj.weight");
}

std::vector<NamedRows> wan_t5_names(const std::string& key) { return find_names(wan_t5_table(), key, 0); }

std::vector<NamedRows> llama_cpp_t5_names(const std::string& key) { return find_names(llama_cpp_t5_table(), key, 0); }

std::vector<NamedRows> llama_cpp_llama_names(const std::string& key, int64_t heads, int64_t kv_heads) {
  auto names = find_names(llama_cpp_llama_table(), key, 0);
  for (auto& rows : names)
    if (llama_cpp_pairs(rows.key)) rows.heads = rows.key.ends_with("q_proj.weight") ? heads : kv_heads;
  return names;
}

}  // namespace eav
