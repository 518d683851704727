// Files that reports are made of, as they are, between a symbol for their beginning and one for their end.
.section .rodata
.macro asset name, file
.global eav_asset_\name
.global eav_asset_\name\()_end
eav_asset_\name:
.incbin "\file"
eav_asset_\name\()_end:
.endm
asset page, "src/report/page.html"
asset style, "src/report/page.css"
asset common, "src/report/common.js"
asset compare, "src/report/compare.js"
asset attention_maps, "src/report/attention_maps.js"
asset echarts, "third_party/echarts/echarts.min.js"
.section .note.GNU-stack, "", @progbits
