//! Tasks that a text model cannot do: the words by which Self-Instruct left them out (Wang et al. 2022, in its code), with more of their
//! kind, their Chinese counterparts, and the phrases in which they say something that can be written about.

use super::Source;
use autodidact_plugin::Field;

pub(super) const SOURCE: Source = Source {
    fields: &[Field::Instruction],
    words: &[
        "image | picture | photo | photograph | screenshot | graph | diagram | video | audio | audio clip | file | map | draw | plot",
        "图片 | 图像 | 照片 | 截图 | 图表 | 文件 | 附件 | 地图 | 画一 | 画出 | 画个 | 画图 | 画张 | 绘制 | 视频 | 音频 | 录音 | 链接
            | 下图 | 附图 | 这张图 | 这幅图",
        "圖片 | 圖像 | 截圖 | 圖表 | 檔案 | 地圖 | 畫一 | 畫出 | 畫個 | 畫圖 | 畫張 | 繪製 | 視頻 | 影片 | 音訊 | 錄音 | 連結 | 下圖
            | 附圖 | 這張圖 | 這幅圖",
    ],
    except: &[ENGLISH, OTHER_WORDS_ZH, OTHER_THINGS_ZH],
    pointers: &[
        (
            "this | these | that | those | following | above | below | attached | given | provided | uploaded | linked",
            "image | picture | photo | photograph | screenshot | graph | diagram | video | audio | file | map",
        ),
        (
            "这张 | 这幅 | 这个 | 这段 | 这份 | 这些 | 那张 | 那幅 | 那段 | 下面的 | 以下 | 下列 | 上面的 | 上述 | 附上的 | 给出的 | 所附",
            "图 | 图片 | 图像 | 照片 | 截图 | 图表 | 文件 | 附件 | 地图 | 视频 | 音频 | 录音 | 链接",
        ),
        (
            "這張 | 這幅 | 這個 | 這段 | 這份 | 這些 | 下面的 | 以下 | 上面的",
            "圖 | 圖片 | 圖像 | 照片 | 截圖 | 圖表 | 檔案 | 附件 | 地圖 | 視頻 | 影片 | 音訊 | 錄音 | 連結",
        ),
    ],
    freed_by: &[ABOUT_CODE, ABOUT_THE_THING],
};

const ENGLISH: &str = "
    draw conclusions | draw a conclusion | draw the conclusion | draw any conclusion | draw attention | draw an inference
    | draw inferences | draw inspiration | draw on | draw upon | draw from | draw a distinction | draw the line | draw a line between
    | draw parallels | draw a parallel | draw a comparison | draw comparisons | draw lots | draw a card | draw breath | draw near
    | draw up | draw customers | draw people | draw visitors | a draw | the draw | prize draw | lucky draw | to a draw
    | plot of | the plot | a plot | this plot | its plot | plot twist | plot summary | plot point | plot hole | plot structure
    | plot outline | plot device | plot line | plot idea | movie plot | film plot | story plot | garden plot | plot against
    | big picture | bigger picture | picture book | picture frame | motion picture | mental picture | best picture | paint a picture
    | picture yourself | picture this | pretty picture
    | self-image | self image | body image | public image | brand image | mirror image | image of the company | positive image
    | spitting image | image processing | image recognition | image classification
    | photo album | photo frame | photo booth | photo shoot | photo studio | photo editor | photo contest
    | graph theory | graph paper | graph database | knowledge graph | graph algorithm | graph neural network | directed graph
    | acyclic graph | undirected graph
    | file name | file a | file an | file for | file taxes | file my | file your | file system | file format | file extension
    | file type | file size | file cabinet | file folder | nail file | rank and file | single file | on file | file sharing
    | file manager | file management
    | road map | mind map | map out | concept map | site map | map reading | map projection | on the map
    | video game | video call | video chat | video conference | video conferencing | video meeting | video editor | video editing
    | video platform | video store | video camera | video essay | video series | video channel | video marketing | video blog
    | youtube video | tiktok video | music video | promotional video | training video | video script | video title
    | audio book | audio format | audio engineer | audio equipment | audio guide | audio tour";

/// Chinese words that only meet a listed one across their borders: 电视频道, 当地图书馆, 试图像鸟一样飞.
const OTHER_WORDS_ZH: &str = "
    视频道 | 视频率 | 视频繁 | 视频频 | 音频率 | 音频道 | 音频繁 | 音频频 | 地图书 | 下图书 | 试图片 | 企图片 | 试图像 | 企图像 | 意图像 | 图片刻
    | 照片刻 | 绘制作 | 论文件 | 公文件数 | 试图表 | 企图表 | 意图表 | 录音乐 | 链接口 | 地图谋 | 地图案 | 下图案 | 下图谋
    | 视頻道 | 視頻道 | 視頻率 | 視頻繁 | 地圖書 | 下圖書 | 試圖片 | 企圖片 | 試圖像 | 企圖像 | 意圖像 | 試圖表 | 企圖表 | 錄音樂";

/// Chinese phrases in which a listed word stands for something that can be written about.
const OTHER_THINGS_ZH: &str = "
    动画一 | 漫画一 | 油画一 | 国画一 | 壁画一 | 版画一 | 绘画一 | 名画一 | 字画一 | 书画一 | 学画一 | 如画一 | 像画一 | 画一般 | 画一样 | 画一直 | 画个笑脸
    | 刻画出 | 刻画一 | 刻画个 | 勾画出 | 勾画一 | 描画出 | 描画一 | 计画一 | 规画一 | 計畫一 | 規畫一 | 動畫一 | 漫畫一 | 油畫一 | 刻畫出 | 刻畫一
    | 短视频 | 视频会议 | 视频通话 | 视频电话 | 视频网站 | 视频平台 | 视频博主 | 视频游戏 | 视频号 | 视频脚本 | 视频标题 | 视频文案 | 视频聊天
    | 音频格式 | 录音机 | 录音棚 | 录音笔 | 录音师 | 文件夹 | 文件格式 | 文件名 | 文件柜 | 文件袋 | 文件系统 | 文件管理 | 红头文件 | 照片墙
    | 照片框 | 地图册 | 地图集 | 图像处理 | 图像识别 | 图片社交 | 产业链接 | 超链接";

/// A program may well work on files, maps and pictures.
const ABOUT_CODE: &str = "
    python | java | javascript | typescript | c++ | c# | f# | haskell | rust | golang | php | ruby | html | css | sql | json | csv | xml | yaml | regex
    | regular expression | linux | unix | bash | powershell | shell | git | docker | api | latex | excel | numpy | pandas | matplotlib
    | code | coding | script | program | programming | algorithm | function that | function to | function which | terminal | command line
    | 代码 | 编程 | 程序 | 脚本 | 命令行 | 正则 | 算法 | 写一个函数 | 写个函数 | 接口 | 代碼 | 程式 | 腳本 | 指令碼 | 演算法";

/// Who asks what a thing is or how it works asks for words.
const ABOUT_THE_THING: &str = "
    explain how | explain what a | explain what an | explain the difference | explain why | how do | how does | how are | how can
    | how to | how is | difference between | differences between | history of | who invented | what is a | what is an | what are
    | advantages of | benefits of | disadvantages of | pros and cons | tips for | tips on
    | 什么是 | 是什么意思 | 原理 | 区别 | 怎么 | 怎样 | 如何 | 为什么 | 历史 | 谁发明 | 优缺点 | 优点 | 缺点 | 好处 | 意义 | 建议
    | 什麼是 | 是什麼意思 | 區別 | 怎麼 | 怎樣 | 為什麼 | 歷史 | 優缺點 | 優點 | 缺點 | 好處 | 建議";
